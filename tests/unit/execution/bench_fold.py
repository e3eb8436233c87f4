"""Measures the fold alone: `python -m tests.unit.execution.bench_fold` prints microseconds per firing (three events each) as JSON."""

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from services.block.sdk import BlockRegistry
from services.execution.engine.dataflow import start
from services.execution.engine.events import Event, EventKind
from services.execution.engine.fold import apply
from services.execution.engine.plan import Plan
from services.execution.engine.state import State
from tests.unit.execution.graphs import BLOCKS, EXECUTION_ID, graph

CALCULATOR = "b1ab9b19-67a6-406d-abf5-2dba76d00c79"
ROUNDS = 10


def chain(length: int = 40) -> Plan:
    """Calculators in a row: one converted pin each."""
    nodes: dict[str, Any] = {f"n{at}": (CALCULATOR, {"operation": "Add", "b": 1}) for at in range(length)}
    nodes["n0"] = (CALCULATOR, {"operation": "Add", "a": 0, "b": 1})
    return Plan.compile(graph(nodes, [f"n{at}.result -> n{at + 1}.a" for at in range(length - 1)]), BlockRegistry.installed())


def join() -> Plan:
    """A stream that waits for a static value."""
    nodes: dict[str, Any] = {"items": ("pass", {"a": 1}), "late": ("keep", {"a": 1}), "sink": "pair"}
    return Plan.compile(graph(nodes, ["items.out -> sink.a", "late.out -> sink.b"]), BLOCKS)


def run_chain(plan: Plan) -> int:
    """One run; returns its firings."""
    state = State(plan, EXECUTION_ID, keeps_history=False)
    apply(state, Event(EventKind.EXECUTION_STARTED, 1))
    queue, count = deque(start(state, {})), 0
    while queue:
        firing = queue.popleft().index
        apply(state, Event(EventKind.NODE_STARTED, 2, firing))
        queue.extend(apply(state, Event(EventKind.NODE_OUTPUT, 3, firing, 0, "result", 1.5)))
        queue.extend(apply(state, Event(EventKind.NODE_COMPLETED, 4, firing)))
        count += 1
    return count


def run_join(plan: Plan, items: int = 10_000) -> int:
    """10,000 items wait, one static value frees them all."""
    state = State(plan, EXECUTION_ID, keeps_history=False)
    apply(state, Event(EventKind.EXECUTION_STARTED, 1))
    for firing in start(state, {}):
        apply(state, Event(EventKind.NODE_STARTED, 2, firing.index))
    for at in range(items):
        apply(state, Event(EventKind.NODE_OUTPUT, 3, 0, at, "out", at))
    return len(apply(state, Event(EventKind.NODE_OUTPUT, 4, 1, 0, "out", 5)))


def best_us(run: Callable[[Plan], int], plan: Plan, repeats: int) -> float:
    """The best of several rounds, in microseconds per firing."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        count = sum(run(plan) for _ in range(repeats))
        rounds.append((time.perf_counter() - began) / count)
    return round(min(rounds) * 1e6, 2)


if __name__ == "__main__":
    print(json.dumps({"chain_40_us": best_us(run_chain, chain(), 20), "join_10000_us": best_us(run_join, join(), 1)}))  # noqa: T201,RUF100
