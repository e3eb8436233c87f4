"""Names come back in the order in which they were given, over REST and over gRPC."""

from typing import Any

import httpx
import orjson
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh.ids import uuid7
from tests.integration.execution.api import Api
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import INPUT, OUTPUT, document, link, node

GIVEN = ["z", "a", "m"]
SHOWN = ["zz", "aa"]


def graph() -> dict[str, Any]:
    """Its outputs come in the order of SHOWN: the second needs two steps."""
    nodes = [node("in", INPUT, name="z"), node("first", OUTPUT, name="zz"), node("second", OUTPUT, name="aa")]
    return document(nodes, [link("in.result", "first.value"), link("first.output", "second.value")])


def names(text: bytes, field: str) -> list[str]:
    """The members of an object in the answer, in their order."""
    return list(orjson.loads(text)[field])


async def test_over_rest(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph_id, request_id = await person.save(graph()), uuid7()
    async with httpx.AsyncClient(base_url=f"http://{api.http_address}", headers={"authorization": f"Bearer {person.token}"}) as client:
        body = f'{{"graph_id":"{graph_id}","inputs":{{"z":1,"a":2,"m":3}},"request_id":"{request_id}"}}'
        headers = {"content-type": "application/json"}
        made = await client.post("/v1/executions", content=body, headers=headers)
        assert names(made.content, "inputs") == GIVEN, made.text
        # The same in another order is the same request.
        again = await client.post("/v1/executions", content=body.replace('"z":1,"a":2', '"a":2,"z":1'), headers=headers)
        assert (again.json()["id"], names(again.content, "inputs")) == (made.json()["id"], GIVEN)
        async with lab.worker():
            await person.watch(made.json()["id"])
        got = await client.get(f"/v1/executions/{made.json()['id']}")
    assert names(got.content, "inputs") == GIVEN
    assert names(got.content, "outputs") == SHOWN


async def test_over_grpc(api: Api, lab: Lab) -> None:
    person = await api.person()
    values = {name: JsonValue(json="1") for name in sorted(GIVEN)}
    graph_id = await person.save(graph())
    for asked, expected in ((GIVEN, GIVEN), (["m"], ["m", "a", "z"]), ([], sorted(GIVEN))):
        request = pb.CreateExecutionRequest(graph_id=graph_id, inputs=values, input_names=asked)
        made = (await person.call("CreateExecution", request)).execution
        got = (await person.call("GetExecution", pb.GetExecutionRequest(execution_id=made.id))).execution
        assert list(made.input_names) == list(got.input_names) == expected
    async with lab.worker():
        await person.watch(made.id)
    got = (await person.call("GetExecution", pb.GetExecutionRequest(execution_id=made.id))).execution
    assert list(got.output_names) == SHOWN
