"""Web requests: what is sent, what is followed, what is refused. The other side is a real server on this machine."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.block.library.support import http_guard
from services.block.library.support.http_guard import is_public
from services.block.sdk import BlockContext, BlockError, BlockRegistry
from services.block.sdk.inputs import Prepared, input_plan
from services.block.sdk.run import run_block

WEB = "6595ae1f-b924-42cb-9a41-551a0611c4b4"


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Site:
    """A server that answers by path and remembers what it saw."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    # Path to answers; the last one is used from then on.
    answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = field(default_factory=dict)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def on(self, path: str, status: int = 200, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.answers.setdefault(path, []).append((status, headers or {}, body))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.seen.append(Seen(method, path, headers, body))
        answers = self.answers.get(path) or [(404, {}, b"")]
        status, sent, content = answers.pop(0) if len(answers) > 1 else answers[0]
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(content)}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in sent.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if method == "HEAD" else content))
        await writer.drain()
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        yield site


async def call(site: Site | None, key: str = "", **inputs: Any) -> list[tuple[str, Any]]:
    block = BlockRegistry.installed().get(WEB)
    assert block is not None
    prepared = input_plan(block).prepare(inputs, {})
    assert isinstance(prepared, Prepared), prepared
    allowed = frozenset({f"127.0.0.1:{site.port}", f"localhost:{site.port}"}) if site else frozenset[str]()
    ctx = BlockContext(idempotency_key=key, http_allow_hosts=allowed)
    return [item async for item in run_block(block, prepared.data, ctx)]


async def test_json_goes_out_and_comes_back(site: Site) -> None:
    site.on("/a", 201, {"content-type": "application/json; charset=utf-8"}, '{"big": 9007199254740993, "z": "é"}'.encode())
    answer = await call(site, "firing-1", url=site.url("/a"), headers={"x-mine": "1"}, body={"b": [1]})
    assert answer == [("response", {"big": 9007199254740993, "z": "é"})]
    [seen] = site.seen
    assert (seen.method, json.loads(seen.body)) == ("POST", {"b": [1]})
    assert seen.headers["idempotency-key"] == "firing-1"
    assert seen.headers["x-mine"] == "1"
    assert seen.headers["host"] == f"127.0.0.1:{site.port}"


@pytest.mark.parametrize(("status", "pin"), [(200, "response"), (404, "client_error"), (500, "server_error")])
async def test_the_status_picks_the_pin(site: Site, status: int, pin: str) -> None:
    site.on("/a", status, {"content-type": "text/plain"}, b"text")
    assert await call(site, url=site.url("/a"), method="GET") == [(pin, "text")]


async def test_form_fields_and_files(site: Site) -> None:
    site.on("/a")
    await call(site, url=site.url("/a"), json_format=False, body={"a": "1 2"})
    await call(site, url=site.url("/a"), files=["data:text/plain;base64,SGk="], files_name="doc", body={"a": "1"})
    assert site.seen[0].body == b"a=1+2"
    assert site.seen[1].headers["content-type"].startswith("multipart/form-data")
    assert b'name="doc"' in site.seen[1].body
    assert b"Hi" in site.seen[1].body


async def test_idempotent_requests_are_retried_a_few_times_and_others_not(site: Site) -> None:
    for _ in range(2):
        site.on("/flaky", 503, {"retry-after": "0"})
    site.on("/flaky", 200, {}, b"at last")
    assert await call(site, url=site.url("/flaky"), method="GET") == [("response", "at last")]
    site.on("/down", 503)
    assert await call(site, url=site.url("/down"), method="POST") == [("server_error", "")]
    assert [item.path for item in site.seen] == ["/flaky"] * 3 + ["/down"]


async def test_redirects_drop_secrets_across_origins_and_turn_posts_into_gets(site: Site) -> None:
    site.on("/from", 302, {"location": site.url("/to", host="localhost")})
    site.on("/to", 200, {}, b"there")
    headers = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Other": "1"}
    assert await call(site, url=site.url("/from"), headers=headers, body={"a": 1}) == [("response", "there")]
    first, second = site.seen
    assert first.headers["authorization"] == "Bearer x"
    assert (second.method, second.body) == ("GET", b"")
    assert not {"authorization", "cookie", "content-type"} & set(second.headers)
    assert second.headers["x-other"] == "1"


async def test_a_redirect_is_checked_like_a_first_request(site: Site) -> None:
    site.on("/from", 302, {"location": "http://169.254.169.254/latest/meta-data"})
    with pytest.raises(BlockError, match="not allowed"):
        await call(site, url=site.url("/from"), method="GET")


async def test_redirects_without_end_are_ended(site: Site) -> None:
    site.on("/round", 307, {"location": "/round"})
    with pytest.raises(BlockError, match="redirects"):
        await call(site, url=site.url("/round"), method="GET")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:9/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://0.0.0.0/",
        "http://user@10.0.0.1/",
        "http://example.com@127.0.0.1/",
        "http://127.0.0.1#@example.com/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://[::127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[fe80::1%25lo]/",
        "169.254.169.254/latest",
    ],
)
async def test_private_addresses_are_refused_however_they_are_written(url: str) -> None:
    with pytest.raises(BlockError, match=r"not allowed|could not be resolved|Not a valid URL"):
        await call(None, url=url, method="GET")


@pytest.mark.parametrize("url", ["ftp://example.com/", "file:///etc/passwd", "http://", "gopher://x", "http://ex ample/"])
async def test_other_schemes_and_malformed_urls_are_refused(url: str) -> None:
    with pytest.raises(BlockError, match=r"not allowed|URL|resolved"):
        await call(None, url=url, method="GET")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("100.64.0.1", False),
        ("172.31.255.255", False),
        ("192.0.0.8", False),
        ("198.19.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("ff02::1", False),
        ("2002:7f00:1::", False),
        ("::", False),
        ("::127.0.0.1", False),
        ("::ffff:0:10.0.0.1", False),
        ("64:ff9b:1::7f00:1", False),
        ("64:ff9b::8.8.8.8", True),
    ],
)
def test_public_addresses(address: str, expected: bool) -> None:
    assert is_public(address) is expected


async def test_a_name_is_resolved_once_and_the_checked_address_is_called(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    monkeypatch.setattr(http_guard, "resolve", resolve)
    monkeypatch.setattr(http_guard, "is_public", lambda address: address == "127.0.0.1")
    site.on("/a", 200, {}, b"once")
    assert await call(None, url=site.url("/a", host="rebind.test"), method="GET") == [("response", "once")]
    assert asked == ["rebind.test"]
    assert site.seen[0].headers["host"] == f"rebind.test:{site.port}"
    with pytest.raises(BlockError, match="not allowed"):
        await call(None, url=site.url("/a", host="rebind.test"), method="GET")


async def test_one_private_address_among_many_refuses_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "169.254.169.254"]

    monkeypatch.setattr(http_guard, "resolve", resolve)
    with pytest.raises(BlockError, match="not allowed"):
        await call(None, url="http://two.test/", method="GET")
