"""The shipped agents, imported and run on real servers by a real worker, as a client sees them."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest_asyncio
from treadle.block.v1.block_service_pb2 import ListBlocksRequest
from treadle.block.v1.block_service_pb2_grpc import BlockServiceStub
from treadle.execution.v1 import execution_service_pb2 as runs
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from treadle.graph.v1 import graph_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh.cli.document import BlockIds, read_document
from mesh.host import Host, find_services, hosted
from mesh.local.ports import free_port
from mesh.settings import Settings
from tests.e2e.orders_expected import ORDERS, expected_report
from tests.integration.graph.conftest import User, register
from tests.unit.graph.making import exported_calculator

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
TIMEOUT_S = 120


@pytest_asyncio.fixture(scope="module")
async def stack(migrated: Settings) -> AsyncIterator[Host]:
    """All services and a worker in one process, which its own web requests may reach."""
    address = f"127.0.0.1:{free_port()}"
    settings = migrated.model_copy(update={"http_address": address, "http_block_allow_hosts": address})
    async with hosted(find_services(["auth", "user", "block", "graph", "execution", "worker"]), settings) as running:
        yield running


class Client:
    """One user of the stack."""

    def __init__(self, channel: grpc.aio.Channel, user: User) -> None:
        self.user = user
        self._metadata = (("authorization", f"Bearer {user.token}"),)
        self._executions: Any = ExecutionServiceStub(channel)
        self._blocks: Any = BlockServiceStub(channel)

    async def imported(self, text: str) -> str:
        """Imports a document and returns the id of the graph."""
        answer = await self.user.graphs("ImportGraph", pb.ImportGraphRequest(document=JsonValue(json=text)))
        return str(answer.graph.id)

    async def example(self, name: str) -> str:
        """Imports a shipped agent."""
        page = await self._blocks.ListBlocks(ListBlocksRequest(), metadata=self._metadata)
        ids = BlockIds(lambda: {block.name: block.id for block in page.blocks})
        return await self.imported(read_document(EXAMPLES / name, ids))

    async def run(self, graph_id: str, **inputs: Any) -> tuple[dict[str, Any], list[runs.Event]]:
        """Runs a graph to its end. Returns the outputs by name, and the events that a watcher saw."""
        values = {name: JsonValue(json=json.dumps(value)) for name, value in inputs.items()}
        request = runs.CreateExecutionRequest(graph_id=graph_id, inputs=values)
        made = (await self._executions.CreateExecution(request, metadata=self._metadata, timeout=20)).execution
        watch = runs.WatchExecutionRequest(execution_id=made.id)
        events = [item.event async for item in self._executions.WatchExecution(watch, metadata=self._metadata, timeout=TIMEOUT_S)]
        get = runs.GetExecutionRequest(execution_id=made.id)
        done = (await self._executions.GetExecution(get, metadata=self._metadata, timeout=20)).execution
        assert done.status == runs.EXECUTION_STATUS_COMPLETED, done.error
        assert done.outcome == runs.EXECUTION_OUTCOME_SUCCEEDED
        return {name: json.loads(value.json) for name, value in done.outputs.items()}, events


@pytest_asyncio.fixture(scope="module")
async def client(stack: Host) -> AsyncIterator[Client]:
    """A new user of the stack."""
    async with grpc.aio.insecure_channel(stack.grpc_address) as channel:
        yield Client(channel, await register(channel))


async def test_the_demo_agent(client: Client) -> None:
    contents = ORDERS.read_text()
    outputs, events = await client.run(await client.example("orders-report.yaml"), orders=contents)
    assert outputs == {"report": [expected_report(contents)]}
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    kinds = Counter(runs.EventKind.Name(event.kind) for event in events)
    assert kinds["EVENT_KIND_NODE_STARTED"] == kinds["EVENT_KIND_NODE_COMPLETED"] > 9000
    assert kinds["EVENT_KIND_NODE_FAILED"] == 0


async def test_the_small_agents(client: Client) -> None:
    assert (await client.run(await client.example("greeting.yaml"), Name="Ada"))[0] == {"Greeting": ["Hello, Ada!"]}
    plan = (await client.run(await client.example("savings-plan.yaml"), goal=1100))[0]["plan"]
    assert plan[0].splitlines() == ["After 2 years:", "1. 1,050.00", "2. 1,102.50"]
    found = (await client.run(await client.example("addresses.yaml"), text="none@example.com, a@b.example"))[0]
    assert found == {"addresses": ["a@b.example\nnone@example.com"], "mentions": [2]}


async def test_the_agent_that_calls_http(client: Client, stack: Host) -> None:
    url = f"http://{stack.http_address}/.well-known/jwks.json"
    outputs, _ = await client.run(await client.example("signing-keys.yaml"), url=url)
    assert re.fullmatch(r"\d+ public keys?:(\n- \S+ \(ES256\))+\n?", outputs["keys"][0])


async def test_the_calculator_of_an_autogpt_export(client: Client) -> None:
    graph_id = await client.imported(json.dumps(exported_calculator()))
    assert (await client.run(graph_id, Input=8))[0] == {"Output": [42.0]}
