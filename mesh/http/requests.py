"""Reads the parts of an HTTP request from ASGI: headers, and the body within its limit."""

from collections.abc import Iterable

from starlette.types import Message, Receive

from mesh.errors import InvalidArgumentError
from mesh.http.errors import BodyTooLargeError, MediaTypeError

# Of a body that is too large; the edge lets no more than its own, smaller limit through.
MAX_DISCARDED_BYTES = 32 * 1024 * 1024


class ClientGoneError(Exception):
    """The client left before its request was read; nobody waits for an answer."""


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header names in lower case to values; repeated headers are joined by commas."""
    headers: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1"), value_bytes.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def read_body(receive: Receive, headers: dict[str, str], max_bytes: int) -> bytes:
    """The whole body. Raises BodyTooLargeError, and ClientGoneError.

    A body that is too large is read on and thrown away within reason: a client that is cut off while it sends never sees the answer.
    """
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        await _discard(receive, 0)
        raise BodyTooLargeError(max_bytes)
    message = await _next_part(receive)
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts = [body]
        size = len(body)
        while message.get("more_body") and size <= max_bytes:
            message = await _next_part(receive)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        if message.get("more_body"):
            await _discard(receive, size)
        body = b"".join(parts)
    if len(body) > max_bytes:
        raise BodyTooLargeError(max_bytes)
    return body


def check_media_type(headers: dict[str, str]) -> None:
    """Raises MediaTypeError unless the body is plain JSON in UTF-8. A body without a stated type passes."""
    if headers.get("content-encoding", "identity") != "identity":
        raise MediaTypeError("Compressed bodies are not taken.")
    stated = headers.get("content-type")
    if stated is None:
        return
    kind, *parameters = (part.strip().lower() for part in stated.split(";"))
    is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    charsets = [part.partition("=")[2].strip('"') for part in parameters if part.startswith("charset=")]
    if not is_json or any(charset not in {"utf-8", "utf8"} for charset in charsets):
        raise MediaTypeError("The body must be JSON in UTF-8: send the header `content-type: application/json`.")


def refuse_body(body: bytes) -> None:
    """Raises InvalidArgumentError when there is a body where none is taken."""
    if body.strip():
        raise InvalidArgumentError("This path takes no body.", reason="BODY_UNEXPECTED")


async def _discard(receive: Receive, size: int) -> None:
    has_more = True
    while has_more and size <= MAX_DISCARDED_BYTES:
        message = await _next_part(receive)
        size += len(message.get("body", b""))
        has_more = message.get("more_body", False)


async def _next_part(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message
