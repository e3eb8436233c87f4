"""Between the messages of the contract and the domain."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from treadle.graph.v1 import draft_service_pb2 as drafts_pb
from treadle.graph.v1 import graph_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh.errors import Detail
from services.graph.drafts import Draft
from services.graph.importing import Report
from services.graph.model import Graph, Link, Node, raw
from services.graph.validation import Problem
from services.graph.versions import Head, read_document


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
    message = content_message(graph)
    message.id, message.version = graph.id, graph.version
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


def whole_message(head: Head, document: str) -> pb.Graph:
    """A version with its nodes and links, read from its document."""
    return head_message(head, parts_message(read_document(document)))


def content_message(graph: Graph) -> pb.Graph:
    """A graph that is no version yet, without what is derived."""
    message = parts_message(graph)
    message.name, message.description, message.instructions = graph.name, graph.description, graph.instructions
    return message


def draft_message(draft: Draft) -> drafts_pb.Draft:
    """A draft as clients see it; without its document, as lists show it."""
    graph = pb.Graph(id=draft.graph_id, name=draft.name, description=draft.description, instructions=draft.instructions)
    if draft.document:
        graph.MergeFrom(parts_message(read_document(draft.document)))
        graph.input_schema.json, graph.output_schema.json = draft.input_schema, draft.output_schema
    return drafts_pb.Draft(
        graph_id=draft.graph_id,
        graph=graph,
        base_version=draft.base_version,
        etag=draft.etag,
        revision=draft.revision,
        problems=map(problem_message, draft.problems),
        problem_count=draft.problem_count,
        create_time=_timestamp(draft.create_time),
        update_time=_timestamp(draft.update_time),
    )


def conflict_detail(stored: Draft | None, sent: Graph | None, newest: pb.Graph | None) -> Detail:
    """Both contents of a conflict."""
    whole, brief = drafts_pb.DraftConflict(newest=newest), drafts_pb.DraftConflict(is_shortened=True)
    if stored is not None:
        whole.stored.CopyFrom(draft_message(stored))
        brief.stored.CopyFrom(whole.stored)
        brief.stored.graph.Clear()
        del brief.stored.problems[:]
    if sent is not None:
        whole.sent.CopyFrom(content_message(sent))
    if newest is not None:
        brief.newest.CopyFrom(pb.Graph(id=newest.id, version=newest.version))
    return Detail(whole, brief)


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
