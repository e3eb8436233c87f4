"""The reference of the REST API, as its page shows it."""

import re

import httpx
import orjson
from starlette.applications import Starlette

from gateway.reference.model import groups, prose, schemas
from gateway.reference.routes import DOCUMENT, ROUTES

document = orjson.loads(DOCUMENT.read_bytes())


async def get(path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(Starlette(routes=list(ROUTES)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def test_every_operation_and_every_schema_is_on_the_page() -> None:
    html = (await get("/docs")).text
    listed = [item for group in groups(document) for item in group.operations]
    assert len(listed) == sum(len(operations) for operations in document["paths"].values())
    for item in listed:
        assert f'<article id="{item.id}">' in html
    for schema in schemas(document):
        assert f'id="schema-{schema.name}"' in html


async def test_every_link_of_the_page_leads_somewhere() -> None:
    html = (await get("/docs")).text
    ids = set(re.findall(r'id="([^"]+)"', html))
    assert {target for target in re.findall(r'href="#([^"]+)"', html) if target not in ids} == set()
    assert set(re.findall(r'href="([^"#]+)"', html)) == {"/", "/openapi.json"}


async def test_the_page_runs_nothing_and_loads_nothing() -> None:
    answer = await get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"<script|<img|<link|<iframe| style=| on[a-z]+=|url\(|@import", answer.text)


async def test_the_page_and_the_document_are_not_sent_twice() -> None:
    for path in ("/docs", "/openapi.json"):
        first = await get(path)
        again = await get(path, if_none_match=first.headers["etag"])
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (await get("/openapi.json")).json() == document


def test_comments_cannot_carry_markup_into_the_page() -> None:
    assert str(prose("A <b> & `x<y`.\n\n- one\n- two")) == (
        "<p>A &lt;b&gt; &amp; <code>x&lt;y</code>.</p><ul><li>one</li><li>two</li></ul>"
    )


def test_commands_carry_the_example_and_what_the_method_needs() -> None:
    by_id = {item.id: item for group in groups(document) for item in group.operations}
    started = by_id["execution_create_execution"]
    assert started.command.startswith('curl -X POST "$TREADLE/v1/executions"')
    assert "Authorization: Bearer $TOKEN" in started.command
    assert "graph_id" in started.command
    assert not by_id["auth_login"].scopes
    assert "Authorization" not in by_id["auth_login"].command
    assert "{" not in by_id["graph_get_graph"].command
