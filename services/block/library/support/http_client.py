"""The HTTP client of blocks: guarded, bounded in time and size, with redirects and retries that are safe."""

import asyncio
import codecs
import random
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx

from services.block.library.support.http_guard import GuardedTransport
from services.block.sdk import BlockError

MAX_REDIRECTS = 10
MAX_RESPONSE_BYTES = 10 * 1024 * 1024
MAX_ATTEMPTS = 3
TOTAL_TIMEOUT_S = 120.0
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_BACKOFF_S = 0.25
_MAX_BACKOFF_S = 5.0
_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_RETRIED_STATUSES = frozenset({408, 429, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
# Never sent on to another origin.
_SENSITIVE_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
# Made by the client; taking them from a graph would allow request smuggling.
_OWN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade"})
_SCHEMES = frozenset({"http", "https"})
_CHARSETS: Final = re.compile(r"(utf-(8|16|32)|iso8859|ascii|cp\d|koi8|gb|big5|euc_|shift_jis|iso2022|hz|mac|tis)")


@dataclass(frozen=True, slots=True)
class WebRequest:
    """A request. `json`, `form` and `files` are the body; `files` are `(field, (name, content))`."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Any = None
    files: tuple[tuple[str, tuple[str, bytes]], ...] = ()
    has_json: bool = False


@dataclass(frozen=True, slots=True)
class WebResponse:
    """What came back. `content_type` is lower-case, without parameters."""

    status: int
    content_type: str
    text: str


async def send(request: WebRequest, allow_hosts: Collection[str] = ()) -> WebResponse:
    """Sends the request, follows redirects and retries what may be retried. Raises BlockError when no answer comes.

    A failure to connect is retried for every method (nothing was sent), statuses 408, 429 and 502 to 504 only for idempotent methods.
    """
    try:
        async with asyncio.timeout(TOTAL_TIMEOUT_S):
            return await _followed(request, allow_hosts)
    except TimeoutError:
        raise BlockError(f"No answer within {TOTAL_TIMEOUT_S:g} seconds", kind="TimeoutError") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BlockError(f"The request failed: {error or type(error).__name__}", kind=type(error).__name__) from error


async def _followed(request: WebRequest, allow_hosts: Collection[str]) -> WebResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN_HEADERS}
    current = replace(request, url=str(checked_url(request.url)), headers=headers)
    for _ in range(MAX_REDIRECTS + 1):
        answer = await _retried(current, allow_hosts)
        if isinstance(answer, WebResponse):
            return answer
        current = _redirected(current, *answer)
    raise BlockError(f"More than {MAX_REDIRECTS} redirects")


async def _retried(request: WebRequest, allow_hosts: Collection[str]) -> WebResponse | tuple[int, str]:
    may_repeat = request.method in _IDEMPOTENT_METHODS
    for attempt in range(1, MAX_ATTEMPTS + 1):
        pause_s = random.uniform(0, min(_MAX_BACKOFF_S, _BACKOFF_S * 2**attempt))  # noqa: S311 - jitter, not a secret
        try:
            answer, retry_after = await _once(request, allow_hosts)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if attempt == MAX_ATTEMPTS:
                raise
        except httpx.TransportError:
            if attempt == MAX_ATTEMPTS or not may_repeat:
                raise
        else:
            is_retried = may_repeat and isinstance(answer, WebResponse) and answer.status in _RETRIED_STATUSES
            if attempt == MAX_ATTEMPTS or not is_retried:
                return answer
            if retry_after.isascii() and retry_after.isdigit():
                pause_s = min(_MAX_BACKOFF_S, float(retry_after))
        await asyncio.sleep(pause_s)
    raise AssertionError("the last attempt returns or raises")


async def _once(request: WebRequest, allow_hosts: Collection[str]) -> tuple[WebResponse | tuple[int, str], str]:
    """The answer, or the status and target of a redirect; and the `Retry-After` header."""
    body: dict[str, Any] = {}
    if request.files:
        body = {"files": list(request.files), "data": request.form}
    elif request.has_json:
        body = {"json": request.json}
    elif request.form is not None:
        body = {"content": request.form} if isinstance(request.form, str) else {"data": request.form}
    transport = GuardedTransport(allow_hosts)
    async with (
        httpx.AsyncClient(transport=transport, trust_env=False, timeout=_TIMEOUT) as client,
        client.stream(request.method, request.url, headers=dict(request.headers), **body) as response,
    ):
        retry_after = response.headers.get("retry-after", "")
        if response.status_code in _REDIRECTS and "location" in response.headers:
            return (response.status_code, response.headers["location"]), retry_after
        content = await _bounded(response)
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return WebResponse(response.status_code, content_type, _text(content, response.charset_encoding or "utf-8")), retry_after


def _text(content: bytes, charset: str) -> str:
    """The content as text: in its charset when that is one of a known family, else as UTF-8."""
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        name = "utf-8"
    # Python knows codecs that are no charsets, and some whose time grows with the square of the text.
    return content.decode(name if _CHARSETS.match(name) else "utf-8", "replace")


async def _bounded(response: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            raise BlockError(f"The response is larger than {MAX_RESPONSE_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _redirected(request: WebRequest, status: int, location: str) -> WebRequest:
    before = httpx.URL(request.url)
    target = checked_url(str(before.join(location)))
    headers = dict(request.headers)
    if (before.scheme, before.host, before.port) != (target.scheme, target.host, target.port):
        headers = {name: value for name, value in headers.items() if name.lower() not in _SENSITIVE_HEADERS}
    if status in _KEEP_METHOD or request.method in {"GET", "HEAD"}:
        return replace(request, url=str(target), headers=headers)
    headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
    return WebRequest("GET", str(target), headers)


def checked_url(text: str) -> httpx.URL:
    """The URL; `http://` is put before one that names no scheme. Raises BlockError for other schemes and malformed URLs."""
    try:
        url = httpx.URL(text.strip() if "://" in text else f"http://{text.strip()}")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise BlockError(f"Not a valid URL: {error}", kind="InvalidURL") from error
    if url.scheme not in _SCHEMES:
        raise BlockError(f"Scheme '{url.scheme}' is not allowed. Only HTTP/HTTPS are supported.")
    if not url.host:
        raise BlockError("Invalid URL: it names no host")
    return url
