"""Measures what executions cost that wait: memory of the whole stack with many parked ones beside the same stack without."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from mesh.cli import usage
from mesh.cli.accounts import jobs_of
from mesh.cli.load import Client
from mesh.cli.output import note
from mesh.cli.session import Session
from mesh.cli.workloads import waiting
from mesh.local.state import StackState

# So many warm everything up that any load fills once: pools, caches, buffers of the servers.
_WARM_UP = 500
# Memory that was only in use for the work settles.
_SETTLE_S = 5.0
_POLL_S = 0.1
_WAITING = "EVENT_KIND_NODE_WAITING"


async def measure(session: Session, state: StackState, runs: int, in_flight: int) -> dict[str, Any]:
    """Parks `runs` executions for an hour, tells what that cost, and cancels them."""
    (job,) = jobs_of(session, waiting(), 1)
    clients = [Client(session.target, job) for _ in range(in_flight)]

    async def park(client: Client, _: int) -> str:
        execution_id = await client.create(str(uuid.uuid4()))
        while (await client.events(execution_id))[-1]["kind"] != _WAITING:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(_POLL_S)
        return execution_id

    try:
        parked = await _spread(clients, range(_WARM_UP), park)
        await asyncio.sleep(_SETTLE_S)
        before = usage.memory_mb(state)
        note(f"parking {runs} executions")
        parked += await _spread(clients, range(runs), park)
        await asyncio.sleep(_SETTLE_S)
        after = usage.memory_mb(state)
        note("cancelling them")
        await _spread(clients, parked, Client.cancel)
    finally:
        for client in clients:
            client.close()
    more = {name: round(used - before.get(name, 0.0), 1) for name, used in after.items()}
    return {"workload": "parked", "runs": runs, "failed": 0, "more_mb": round(sum(more.values()), 1), "more_mb_by_process": more}


async def _spread(clients: list[Client], items: Iterable[Any], step: Callable[[Client, Any], Awaitable[Any]]) -> list[Any]:
    """The results of a step for each item, each client one at a time."""
    left, results = iter(items), []

    async def work(client: Client) -> None:
        results.extend([await step(client, item) for item in left])

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(work(client))
    return results
