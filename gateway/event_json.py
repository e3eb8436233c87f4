"""Events from gRPC messages to the JSON text that REST shows."""

import orjson
from treadle.execution.v1.execution_service_pb2 import Event, EventKind, ExecutionStatus

from gateway.events import EventText, event_text


def text_of(event: Event) -> EventText:
    """The event as JSON text; its value is spliced in as it is."""
    shown = {
        "seq": event.seq,
        "execution_id": event.execution_id,
        "kind": EventKind.Name(event.kind),
        "time": event.time.ToJsonString(),
        "node_id": event.node_id,
        "node_execution_id": event.node_execution_id,
        "block_id": event.block_id,
        "pin": event.pin,
        "ordinal": event.ordinal,
        "value": orjson.Fragment(event.value.json or "null"),
        "status": ExecutionStatus.Name(event.status),
        "error": event.error,
    }
    return event_text(orjson.dumps(shown))
