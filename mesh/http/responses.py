"""Writes HTTP responses to ASGI: JSON bodies, our errors, validators."""

import math
from collections.abc import Mapping
from hashlib import blake2b

from starlette.types import Scope, Send

from mesh.call import Call
from mesh.chain.request_id import HEADER as REQUEST_ID_HEADER
from mesh.chain.request_id import harmless_or_new
from mesh.errors import TreadleError, UnauthenticatedError
from mesh.http.errors import VerbNotAllowedError, http_status
from mesh.http.requests import headers_of
from mesh.status import retry_after_s, to_json

JSON = b"application/json"
_NOT_MODIFIED = 304


async def send_body(send: Send, status: int, body: bytes, extra: Mapping[str, str], *, is_head: bool = False) -> None:
    """A whole JSON response. For HEAD the headers only, as GET would send them."""
    headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(body)), *encode_headers(extra)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else body})


async def send_error(send: Send, error: TreadleError, extra: Mapping[str, str], *, is_head: bool = False) -> None:
    """The error as JSON, with the headers that HTTP asks for with it."""
    await send_body(send, http_status(error), to_json(error), {**extra, **error_headers(error)}, is_head=is_head)


async def refuse(scope: Scope, send: Send, error: TreadleError, *, is_head: bool = False) -> None:
    """Answers a request that never became a call: the error, with the request's id."""
    request_id = harmless_or_new(headers_of(scope["headers"]).get(REQUEST_ID_HEADER, ""))
    await send_error(send, error, {REQUEST_ID_HEADER: request_id}, is_head=is_head)


def error_headers(error: TreadleError) -> dict[str, str]:
    """The headers that HTTP asks for with an error, whoever sends it: the doors, the gateway, the edge."""
    headers = {"cache-control": "no-store"}
    delay_s = retry_after_s(error)
    if delay_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(delay_s)))
    if isinstance(error, VerbNotAllowedError):
        headers["allow"] = error.metadata["allow"]
    if isinstance(error, UnauthenticatedError):
        headers["www-authenticate"] = "Bearer"
    return headers


async def send_not_modified(send: Send, extra: Mapping[str, str]) -> None:
    """304: what the client has is still right."""
    await send({"type": "http.response.start", "status": _NOT_MODIFIED, "headers": encode_headers(extra)})
    await send({"type": "http.response.body", "body": b""})


def quoted(etag: str) -> str:
    """An entity tag in its form on the wire; handlers may give it bare."""
    return etag if etag.endswith('"') else f'"{etag}"'


def etag_of(body: bytes) -> str:
    """The entity tag of an answer that came without one. Weak: the same value may be written in more than one way."""
    return f'W/"{blake2b(body, digest_size=12).hexdigest()}"'


def is_current(etag: str, if_none_match: str | None) -> bool:
    """Whether the client's copies hold the tag, by weak comparison (RFC 9110 §13.1.2)."""
    if not etag or not if_none_match:
        return False
    if if_none_match.strip() == "*":
        return True
    wanted = etag.removeprefix("W/")
    return any(part.strip().removeprefix("W/") == wanted for part in if_none_match.split(","))


def headers_for(call: Call) -> dict[str, str]:
    """The handler's headers, its entity tag in proper form, and the id of the request."""
    headers = dict(call.response_headers)
    if call.request_id:
        headers[REQUEST_ID_HEADER] = call.request_id
    if "etag" in headers:
        headers["etag"] = quoted(headers["etag"])
    return headers


def encode_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them; line breaks cannot get in."""
    return [
        (name.encode("latin-1"), value.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace"))
        for name, value in headers.items()
    ]
