"""Between the messages of the contract and the domain."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from treadle.graph.v1 import graph_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from services.graph.importing import Report
from services.graph.model import Graph, Link, Node, raw
from services.graph.validation import Problem
from services.graph.versions import Head


def graph_of(message: pb.Graph, *, is_top: bool = True) -> Graph:
    """The graph in a message. The id and version of the top graph are not the client's to say."""
    return Graph(
        name=message.name,
        id="" if is_top else message.id,
        version=1 if is_top else message.version,
        description=message.description,
        instructions=message.instructions,
        nodes=tuple(Node(item.id, item.block_id, raw(item.input_default.json), raw(item.metadata.json)) for item in message.nodes),
        links=tuple(
            Link(item.id, item.source_id, item.source_name, item.sink_id, item.sink_name, item.is_static) for item in message.links
        ),
        sub_graphs=tuple(graph_of(item, is_top=False) for item in message.sub_graphs),
    )


def parts_message(graph: Graph) -> pb.Graph:
    """What never changes about a version: the nodes, links and sub-graphs."""
    return pb.Graph(
        nodes=[
            pb.Node(
                id=item.id,
                block_id=item.block_id,
                input_default=JsonValue(json=bytes(item.input_default).decode()),
                metadata=JsonValue(json=bytes(item.metadata).decode()),
            )
            for item in graph.nodes
        ],
        links=[
            pb.Link(
                id=item.id,
                source_id=item.source_id,
                source_name=item.source_name,
                sink_id=item.sink_id,
                sink_name=item.sink_name,
                is_static=item.is_static,
            )
            for item in graph.links
        ],
        sub_graphs=[_sub_message(item) for item in graph.sub_graphs],
    )


def _sub_message(graph: Graph) -> pb.Graph:
    message = parts_message(graph)
    message.id, message.version = graph.id, graph.version
    message.name, message.description, message.instructions = graph.name, graph.description, graph.instructions
    return message


def head_message(head: Head, parts: pb.Graph | None = None) -> pb.Graph:
    """A version as clients see it; without `parts`, as lists show it."""
    message = pb.Graph(
        id=head.id,
        version=head.version,
        is_active=head.is_active,
        name=head.name,
        description=head.description,
        instructions=head.instructions,
        input_schema=JsonValue(json=head.input_schema),
        output_schema=JsonValue(json=head.output_schema),
        create_time=_timestamp(head.create_time),
        update_time=_timestamp(head.update_time),
    )
    if parts is not None:
        message.MergeFrom(parts)
    return message


def problem_message(problem: Problem) -> pb.GraphProblem:
    """A problem as clients see it."""
    return pb.GraphProblem(node_id=problem.node_id, field=problem.field, message=problem.message)


def report_message(report: Report) -> pb.ImportReport:
    """A report as clients see it."""
    return pb.ImportReport(
        unknown_blocks=[
            pb.UnknownBlock(block_id=block_id, name=name, node_ids=node_ids) for block_id, (name, node_ids) in report.unknown_blocks.items()
        ],
        needed_credentials=[
            pb.NeededCredential(provider=provider, type=kind, node_ids=node_ids)
            for (provider, kind), node_ids in report.needed_credentials.items()
        ],
        changes=report.changes,
    )


def _timestamp(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message
