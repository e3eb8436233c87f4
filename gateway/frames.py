"""The frames of the WebSocket: what a client may say, and what it hears. JSON text, pure functions."""

import re
from typing import Annotated

import msgspec
import orjson

from mesh.errors import InvalidArgumentError, TreadleError, Violation
from mesh.status import to_json

# Room for every command there is; a longer frame is no command.
MAX_COMMAND_CHARS = 16 * 1024

_Id = Annotated[str, msgspec.Meta(max_length=100)]
_Seq = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class Subscribe(msgspec.Struct, tag_field="method", tag="subscribe", forbid_unknown_fields=True, frozen=True):
    """Follow an execution from `after_seq`, or the live events of a graph's executions. Exactly one of the two ids is set."""

    id: _Id = ""
    execution_id: _Id = ""
    graph_id: _Id = ""
    after_seq: _Seq = 0


class Unsubscribe(msgspec.Struct, tag_field="method", tag="unsubscribe", forbid_unknown_fields=True, frozen=True):
    """Leave a channel."""

    channel: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    id: _Id = ""


class Ping(msgspec.Struct, tag_field="method", tag="ping", forbid_unknown_fields=True, frozen=True):
    """Ask for a sign of life."""

    id: _Id = ""


Command = Subscribe | Unsubscribe | Ping

_COMMANDS = msgspec.json.Decoder(Command)


class _AnyFrame(msgspec.Struct):
    id: str = ""


_ANY_FRAME = msgspec.json.Decoder(_AnyFrame)
# msgspec ends its messages with where the fault is: " - at `$.after_seq`".
_PLACE = re.compile(r" - at `\$?\.?(?P<field>[^`]*)`$")


def parse(text: str) -> Command:
    """The command in a frame. Raises INVALID_ARGUMENT (FRAME_INVALID) that names the field."""
    if len(text) > MAX_COMMAND_CHARS:
        raise _invalid(f"A frame may have {MAX_COMMAND_CHARS} characters.")
    try:
        command: Command = _COMMANDS.decode(text)
    except (msgspec.DecodeError, ValueError) as error:
        raise _explained(error) from None
    if isinstance(command, Subscribe) and bool(command.execution_id) == bool(command.graph_id):
        raise _invalid("Say which execution_id or which graph_id to subscribe to, one of the two.", "execution_id")
    if isinstance(command, Subscribe) and command.graph_id and command.after_seq:
        raise _invalid("A graph has no sequence of its own: after_seq goes with execution_id.", "after_seq")
    return command


def id_of(text: str) -> str:
    """The id of a frame, as far as it has one, to answer a frame that is no command."""
    if len(text) > MAX_COMMAND_CHARS:
        return ""
    try:
        return _ANY_FRAME.decode(text).id[:100]
    except (msgspec.DecodeError, ValueError):
        return ""


def subscribed(id: str, channel: str, last_seq: int | None = None) -> str:
    """The answer to Subscribe. `last_seq` is the newest event of an execution; a graph has none."""
    frame: dict[str, object] = {"id": id, "type": "subscribed", "channel": channel}
    if last_seq is not None:
        frame["last_seq"] = last_seq
    return orjson.dumps(frame).decode()


def unsubscribed(id: str, channel: str) -> str:
    """The answer to Unsubscribe."""
    return orjson.dumps({"id": id, "type": "unsubscribed", "channel": channel}).decode()


def pong(id: str) -> str:
    """The answer to Ping."""
    return orjson.dumps({"id": id, "type": "pong"}).decode()


def failed(error: TreadleError, id: str = "", channel: str = "") -> str:
    """A command (with its id) or a channel that was subscribed (with its name) has failed."""
    frame: dict[str, object] = {"id": id} if id else {}
    frame["type"] = "error"
    if channel:
        frame["channel"] = channel
    frame["error"] = orjson.Fragment(to_json(error))
    return orjson.dumps(frame).decode()


def ended(channel: str) -> str:
    """The channel has given its last event; the subscription is over."""
    return orjson.dumps({"type": "ended", "channel": channel}).decode()


def event_head(channel: str) -> str:
    """What stands before an event's own JSON text in each event frame of a channel; `}` closes the frame."""
    return f'{{"type":"event","channel":{orjson.dumps(channel).decode()},"event":'


def _explained(error: Exception) -> InvalidArgumentError:
    message = str(error)
    place = _PLACE.search(message)
    text = _PLACE.sub("", message).replace("`", '"')
    return _invalid(f"Not a command: {text}.", place["field"] if place else "")


def _invalid(message: str, field: str = "") -> InvalidArgumentError:
    violations = [Violation(field, message)] if field else []
    return InvalidArgumentError(message, reason="FRAME_INVALID", violations=violations)
