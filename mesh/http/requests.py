"""Reads the parts of an HTTP request from ASGI: headers, and the body within its limit."""

import asyncio
from collections.abc import Iterable, Mapping

from starlette.types import Receive

from mesh.errors import InvalidArgumentError
from mesh.http.errors import BodyTooLargeError, ClientGoneError, MediaTypeError


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header names in lower case to values; repeated headers are joined by commas."""
    headers: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1"), value_bytes.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class Body:
    """The body of one request, and the client behind it. The ASGI `receive` is read here only."""

    def __init__(self, receive: Receive, headers: Mapping[str, str], max_bytes: int) -> None:
        """Raises BodyTooLargeError when the headers say that it is. The server under us throws away what nobody reads."""
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > max_bytes:
            raise BodyTooLargeError(max_bytes)
        self._receive = receive
        self._max_bytes = max_bytes
        self._is_read = asyncio.Event()

    async def read(self) -> bytes:
        """The whole body. Raises BodyTooLargeError, and ClientGoneError."""
        parts: list[bytes] = []
        size, has_more = 0, True
        while has_more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError("The client left.")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_bytes:
                raise BodyTooLargeError(self._max_bytes)
            has_more = message.get("more_body", False)
        self._is_read.set()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def client_gone(self) -> None:
        """Returns when the client has left; when it leaves before its body is read, `read` fails instead."""
        await self._is_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


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
