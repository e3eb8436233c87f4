"""A run cut off after any of its events comes to the same end."""

import asyncio
import time
from typing import Any

import pytest

from services.block.sdk import BlockRegistry
from services.execution.engine import reuse
from services.execution.engine.events import EventKind
from services.execution.engine.state import Firing, State
from services.execution.lines import Line, write_row
from services.execution.snapshots import Snapshots
from services.execution.worker.replay import Replay
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import CALCULATOR, DRIP, INPUT, OUTPUT, STEP, chain, document, link, node
from tests.integration.execution.test_crash import check
from tests.integration.execution.test_journal import claims_of

RUN = {EventKind.EXECUTION_STARTED, EventKind.EXECUTION_RESUMED}


def branches(source: str) -> dict[str, Any]:
    """A generator whose items meet a static value and go through two nodes to two outputs."""
    pin = {STEP: "items", DRIP: "value"}[source]
    out = {STEP: "item", DRIP: "value"}[source]
    nodes = [
        node("in", INPUT, name="L"),
        node("add", INPUT, name="N"),
        node("each", source),
        node("sum", CALCULATOR, operation="Add"),
        node("twice", CALCULATOR, operation="Multiply", b=2),
        node("a", OUTPUT, name="A"),
        node("b", OUTPUT, name="B"),
    ]
    links = [
        link("in.result", f"each.{pin}"),
        link(f"each.{out}", "sum.a"),
        link("add.result", "sum.b"),
        link("sum.result", "twice.a"),
        link("sum.result", "a.value"),
        link("twice.result", "b.value"),
    ]
    return document(nodes, links)


async def cut(lab: Lab, execution_id: str, lines: list[Line]) -> None:
    """Makes the execution what a worker left that died after these events."""
    async with lab.pool.acquire() as connection, connection.transaction():
        await connection.execute("DELETE FROM execution_event WHERE execution_id = $1", execution_id)
        await connection.execute("INSERT INTO execution_event VALUES ($1, 1, $2, $3)", execution_id, len(lines), write_row(lines))
        await connection.execute(
            """UPDATE execution SET status = 'RUNNING', outcome = '', outputs = '{}', stats = '{}', end_time = NULL, last_seq = $2,
            epoch = epoch + 1, attempts = 0, lease_until = now() - interval '1 s' WHERE id = $1""",
            execution_id,
            len(lines),
        )


def told(lines: list[Line]) -> list[tuple[Any, ...]]:
    """What the events say of values, in an order that independent nodes do not disturb."""
    outputs = (line for line in lines if line.kind == EventKind.NODE_OUTPUT)
    return sorted((line.node, line.nth, line.ordinal, line.pin, bytes(line.value)) for line in outputs)


@pytest.mark.parametrize(("source", "given"), [(STEP, [5, 6, 7, 8]), (DRIP, 4)])
async def test_after_any_event(lab: Lab, source: str, given: Any) -> None:
    async with lab.worker(sweep_s=0.02):
        execution_id = await lab.start(branches(source), L=given, N=100)
        whole = await lab.ended(execution_id)
        lines = await lab.journal(execution_id)
        assert whole.outcome == "SUCCEEDED"
        for length in range(2, len(lines)):
            await cut(lab, execution_id, lines[:length])
            assert await check(lab, execution_id, 19)
            again, resumed = await lab.get(execution_id), await lab.journal(execution_id)
            assert again.outputs == whole.outputs, f"cut after {length}"
            assert told(resumed) == told(lines), f"cut after {length}"
            assert resumed[:length] == lines[:length]


async def test_to_go_on_from_a_run_of_large_values_holds_up_nobody(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async with lab.worker():
        old = await lab.start(chain(100), X=1)
        await lab.ended(old)
    lab.notices.bell.bus = None
    new = (await lab.create((await lab.get(old)).graph_id, X=1)).record.id
    await lab.pool.execute("UPDATE execution SET retry_of = $2 WHERE id = $1", new, old)
    (claim,) = await claims_of(lab, "w").claim([new])
    assert claim.retry_of == old

    def slow(firing: Firing) -> tuple[str, bytes]:
        # As long as it takes to read a value of a few megabytes.
        time.sleep(0.005)
        return firing.node.id, b""

    monkeypatch.setattr(reuse, "_key", slow)
    snapshot = await Snapshots(lab.repository, BlockRegistry.installed()).get(*claim.snapshot)
    holds: list[float] = []

    async def beat() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0)
            holds.append(time.monotonic() - before)

    beating = asyncio.create_task(beat())
    standing = await Replay(lab.repository).stand(claim, State(snapshot.plan, new, {}))
    beating.cancel()
    assert standing.memo is not None
    assert sum(holds) > 0.5
    assert max(holds) < 0.25
