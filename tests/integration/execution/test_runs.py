"""Runs from creation to end, on a worker in this process."""

from collections import Counter

from services.execution.engine.events import EventKind
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import CALCULATOR, INPUT, OUTPUT, REPLACE, STEP, TOUCH, chain, document, endless, link, node
from tests.integration.execution.touch import Touches


async def test_a_chain_of_pure_nodes_runs_to_its_output(lab: Lab) -> None:
    async with lab.worker():
        record = await lab.ended(await lab.start(chain(40), X=2))
    assert (record.status, record.outcome, record.outputs) == ("COMPLETED", "SUCCEEDED", '{"R":[42.0]}')
    kinds = Counter(line.kind for line in await lab.journal(record.id))
    assert kinds[EventKind.NODE_STARTED] == kinds[EventKind.NODE_COMPLETED] == 42
    assert record.last_seq == sum(kinds.values())
    assert record.start_time is not None
    assert record.end_time is not None


async def test_an_effect_starts_only_when_its_start_is_durable(lab: Lab, touches: Touches) -> None:
    async with lab.worker():
        record = await lab.ended(await lab.start(chain(5, TOUCH), X="v"))
    assert record.outputs == '{"R":["v"]}'
    assert len(set(touches.firings())) == 5
    rows = await lab.pool.fetch("SELECT seq FROM execution_event WHERE execution_id = $1", record.id)
    assert len(rows) >= 6


async def test_fan_out_of_a_generator(lab: Lab) -> None:
    graph = document(
        [node("in", INPUT, name="L"), node("each", STEP), node("sum", CALCULATOR, operation="Add", b=1), node("out", OUTPUT, name="R")],
        [link("in.result", "each.items"), link("each.item", "sum.a"), link("sum.result", "out.value")],
    )
    async with lab.worker():
        record = await lab.ended(await lab.start(graph, L=list(range(100))))
    assert record.outputs == "{" + f'"R":{[float(at + 1) for at in range(100)]}'.replace(" ", "") + "}"


async def test_a_cycle_without_an_exit_is_stopped_by_the_cap(lab: Lab) -> None:
    async with lab.worker(max_emissions=500):
        record = await lab.ended(await lab.start(endless(), X=0))
    assert (record.status, record.outcome) == ("FAILED", "FAILED")
    assert "more than 500 values" in record.error
    assert (await lab.journal(record.id))[-1].kind == EventKind.EXECUTION_FAILED


async def test_a_dry_run_touches_nothing(lab: Lab, touches: Touches) -> None:
    async with lab.worker():
        accepted = await lab.create(await lab.graph(chain(2, TOUCH)), dry_run=True, X=1)
        record = await lab.ended(accepted.record.id)
    assert record.status == "COMPLETED"
    assert not touches.firings()


async def test_a_value_too_large_to_show_fails_its_node(lab: Lab) -> None:
    doubled = node("big", REPLACE, text="a" * 2_500_000, old="a", new="bb")
    graph = document([doubled, node("out", OUTPUT, name="E")], [link("big.error", "out.value")])
    async with lab.worker():
        record = await lab.ended(await lab.start(graph))
    assert record.outcome == "COMPLETED_WITH_ERRORS"
    assert "5000002 bytes; the limit is" in record.outputs
