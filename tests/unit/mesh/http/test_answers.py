"""Answers that were written before are sent again, as long as their entity tag counts and the caller is let in."""

from collections.abc import AsyncIterator

import httpx
import pytest
from treadle.graph.v1 import graph_service_pb2 as graph

from mesh.call import Call
from mesh.chain.errors import Errors
from mesh.contract import methods
from mesh.dispatch import Dispatcher
from mesh.errors import NotFoundError
from mesh.http.answers import MAX_ANSWER_BYTES, MAX_BYTES, Answers
from mesh.http.door import http_door
from mesh.http.route import Route
from mesh.http_server import HttpServer, bind
from mesh.metrics import Metrics
from tests.unit.mesh.partial import Partial


class Graphs(Partial):
    """Graphs whose tag the test sets; counts those that it had to make."""

    def __init__(self) -> None:
        self.etag, self.made, self.is_there = "v1", 0, True

    async def get_graph(self, request: graph.GetGraphRequest, call: Call) -> graph.GetGraphResponse:
        if not self.is_there:
            raise NotFoundError("No such graph.")
        call.response_headers["etag"] = self.etag
        if call.has_answer(self.etag):
            return graph.GetGraphResponse()
        self.made += 1
        return graph.GetGraphResponse(graph=graph.Graph(id=request.graph_id, name=self.etag, version=request.version))


@pytest.fixture
def graphs() -> Graphs:
    return Graphs()


@pytest.fixture
async def door(graphs: Graphs) -> AsyncIterator[httpx.AsyncClient]:
    sock, address = bind("127.0.0.1:0")
    dispatcher = Dispatcher({"treadle.graph.v1.GraphService": graphs}, [Errors()])
    server = HttpServer(http_door(dispatcher, max_body_bytes=1024), sock, drain_s=1)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=10) as client:
        yield client
    await server.stop()


async def test_the_same_answer_is_made_once(door: httpx.AsyncClient, graphs: Graphs) -> None:
    answers = [await door.get("/v1/graphs/a") for _ in range(3)]
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers["etag"] for answer in answers] == ['"v1"'] * 3
    assert graphs.made == 1
    assert (await door.head("/v1/graphs/a")).headers["content-length"] == str(len(answers[0].content))


async def test_another_path_query_or_tag_is_another_answer(door: httpx.AsyncClient, graphs: Graphs) -> None:
    assert (await door.get("/v1/graphs/a")).json()["version"] == 0
    assert (await door.get("/v1/graphs/a?version=2")).json()["version"] == 2
    assert (await door.get("/v1/graphs/b")).json()["id"] == "b"
    graphs.etag = "v2"
    assert (await door.get("/v1/graphs/a")).json()["name"] == "v2"
    assert graphs.made == 4


async def test_who_is_not_let_in_gets_none(door: httpx.AsyncClient, graphs: Graphs) -> None:
    await door.get("/v1/graphs/a")
    graphs.is_there = False
    assert (await door.get("/v1/graphs/a")).status_code == 404


async def test_what_the_client_has_need_not_be_made_either(door: httpx.AsyncClient, graphs: Graphs) -> None:
    answer = await door.get("/v1/graphs/a", headers={"if-none-match": '"v1"'})
    assert (answer.status_code, answer.content, graphs.made) == (304, b"", 0)
    assert (await door.get("/v1/graphs/a", headers={"if-none-match": '"v0"'})).json()["name"] == "v1"


def test_they_are_bounded_by_bytes() -> None:
    answers = Answers(Metrics())
    answers.keep((b"/", b"", '"1"'), bytes(MAX_ANSWER_BYTES + 1))
    assert answers.find((b"/", b"", '"1"')) is None
    for number in range(40):
        answers.keep((b"/", b"", f'"{number}"'), bytes(MAX_ANSWER_BYTES))
    held = [number for number in range(40) if answers.find((b"/", b"", f'"{number}"')) is not None]
    assert held == list(range(40 - len(held), 40))
    assert 0 < len(held) * MAX_ANSWER_BYTES <= MAX_BYTES


def test_one_that_was_found_is_not_lost_before_it_is_sent() -> None:
    answers = Answers(Metrics())
    answers.keep((b"/", b"", '"1"'), b"body")
    answer = answers.for_request(b"/", b"", None)
    assert answer.has("1")
    for number in range(40):
        answers.keep((b"/other", b"", f'"{number}"'), bytes(MAX_ANSWER_BYTES))
    assert answer.has("1")
    assert answer.body == b"body"


@pytest.mark.parametrize("method", [m for m in methods().values() if m.http and m.http.verb == "GET"], ids=lambda m: m.full_name)
def test_each_read_says_who_may_keep_its_answer(method: object) -> None:
    headers = Route(method, ()).cache_headers  # type: ignore[arg-type]
    scope, _, how_long = headers["cache-control"].partition(", ")
    assert scope == ("public" if method.is_shared else "private")  # type: ignore[attr-defined]
    assert how_long == ("no-cache" if method.max_age_s is None else f"max-age={method.max_age_s}")  # type: ignore[attr-defined]
    assert ("vary" in headers) == (not method.is_public)  # type: ignore[attr-defined]
