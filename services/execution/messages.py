"""From rows and journals to messages."""

import datetime as dt
from collections.abc import Mapping

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh import jsontext
from mesh.event_lines import Message
from services.execution.lines import Renderer
from services.execution.repository.executions import Record
from services.execution.sizes import Piece, shown

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parts(text: str) -> Mapping[str, JsonValue]:
    """The members of a JSON object, each as the text it is written with."""
    return {name: JsonValue(json=bytes(value).decode()) for name, value in _OBJECT.decode(text).items()}


def execution_message(record: Record, wait_reason: str = "") -> pb.Execution:
    """The execution of a row. `wait_reason` says why nothing happens in it, where that was asked."""
    values, masks = shown(record.inputs, record.outputs, record.input_masks), parts(record.input_masks)
    message = pb.Execution(
        id=record.id,
        graph_id=record.graph_id,
        graph_version=record.graph_version,
        status=pb.ExecutionStatus.Value(f"EXECUTION_STATUS_{record.status}"),
        outcome=pb.ExecutionOutcome.Value(f"EXECUTION_OUTCOME_{record.outcome or 'UNSPECIFIED'}"),
        inputs={name: JsonValue(json=text) for name, text in values.inputs.items()},
        outputs={name: JsonValue(json=text) for name, text in values.outputs.items()},
        stats=pb.ExecutionStats(**jsontext.loads(record.stats)),
        error=record.error,
        last_seq=record.last_seq,
        create_time=_time(record.create_time),
        input_masks=masks,
        dry_run=record.dry_run,
        parent_id=record.parent_id or "",
        parent_node_execution_id=firing_of_child(record),
        root_id=record.root_id or record.id,
        depth=record.depth,
        retry_of=record.retry_of or "",
        wait_reason=wait_reason,
        graph_revision=record.graph_revision,
        timezone=record.timezone,
        input_names=values.input_names,
        output_names=values.output_names,
        input_mask_nodes=masks,
        input_refs={name: _ref(piece) for name, piece in values.input_refs.items()},
        output_refs={name: pb.ValueParts(parts=map(_ref, pieces)) for name, pieces in values.output_refs.items()},
    )
    if record.wake_time is not None:
        message.wake_time.CopyFrom(_time(record.wake_time))
    if record.start_time is not None:
        message.start_time.CopyFrom(_time(record.start_time))
    if record.end_time is not None:
        message.end_time.CopyFrom(_time(record.end_time))
    return message


def _ref(piece: Piece) -> pb.ValueRef:
    return pb.ValueRef(sha256=piece.sha256, size_bytes=len(piece.content))


def firing_of_child(record: Record) -> str:
    """The parent's firing that a child execution is; empty for one that a caller asked for."""
    return (record.request_id or "").partition("/")[0] if record.parent_id else ""


def events_of(message: Message, after_seq: int = 0) -> list[pb.Event]:
    """The events after a seq of a bus message. The others cost next to nothing."""
    first_seq, lines = message.after(after_seq)
    return list(Renderer(message.execution_id, message.nodes).proto(first_seq, lines)) if lines else []


def _time(value: dt.datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(value)
    return message
