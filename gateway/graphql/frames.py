"""What clients may send: requests, and the frames of `graphql-transport-ws`. Pure functions."""

import re
from typing import Annotated, Any

import msgspec

from mesh import jsontext
from mesh.errors import InvalidArgumentError

INVALID = "GRAPHQL_INVALID"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class GraphQlRequest(msgspec.Struct, frozen=True):
    """One request; other members of the object are not looked at."""

    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815 - its name in JSON


class _Said(msgspec.Struct, frozen=True, tag_field="type"):
    payload: dict[str, Any] | None = None


class _Init(_Said, frozen=True, tag="connection_init"): ...


class _Ping(_Said, frozen=True, tag="ping"): ...


class _Pong(_Said, frozen=True, tag="pong"): ...


class _Subscribe(msgspec.Struct, frozen=True, tag_field="type", tag="subscribe"):
    id: _Id
    payload: GraphQlRequest


class _Complete(msgspec.Struct, frozen=True, tag_field="type", tag="complete"):
    id: _Id


_Frame = _Init | _Ping | _Pong | _Subscribe | _Complete


def decode(text: str | bytes) -> Any:
    """A JSON value, its numbers kept with all their digits. Raises ValueError for what is no JSON, or nested beyond all measure."""
    try:
        value = jsontext.loads(text)
        if _SURROGATE.search(text if isinstance(text, str) else text.decode()):
            # Half a character has no place in an answer, and errors quote what was sent.
            jsontext.dumps(value).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def request_in(body: bytes) -> GraphQlRequest:
    """The request in a body. Raises INVALID_ARGUMENT (GRAPHQL_INVALID)."""
    try:
        return msgspec.convert(decode(body), GraphQlRequest)
    except msgspec.ValidationError as error:
        raise _invalid(f"Not a GraphQL request: {error}.".replace("`", '"')) from None
    except ValueError:
        raise _invalid("The body is not JSON.") from None


def check_frame(frame: object) -> None:
    """Raises INVALID_ARGUMENT (GRAPHQL_INVALID) for what is no frame of the protocol."""
    try:
        msgspec.convert(frame, _Frame)
    except msgspec.ValidationError as error:
        raise _invalid(f"Not a frame: {error}.".replace("`", '"')) from None


def _invalid(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(message, reason=INVALID)
