"""Callers who start executions without rest, and repeat a call until it is answered."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from mesh.ids import uuid7
from tests.chaos.workload import Kind

_RETRY_S = 0.2
_GIVE_UP_S = 90.0
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
CANCELLED_SHARE = 0.06


class RefusedError(Exception):
    """The stack said no to a good request."""


@dataclass(slots=True)
class Accepted:
    """An execution that the stack said it has."""

    execution_id: str
    request_id: str
    kind: Kind
    x: int
    is_cancelled: bool = False


@dataclass(slots=True)
class Load:
    """Several callers at once. `accepted` are all executions; `refusals` the codes of answers that were repeated."""

    client: httpx.AsyncClient
    graph_ids: dict[str, str]
    kinds: list[Kind]
    seed: int
    accepted: list[Accepted] = field(default_factory=list)
    refusals: dict[int, int] = field(default_factory=dict)

    async def run(self, callers: int, seconds: float) -> None:
        """Goes on for some time; returns when each caller has its last answer. Raises RefusedError."""
        async with asyncio.TaskGroup() as group:
            for caller in range(callers):
                group.create_task(self._call_on(random.Random(f"{self.seed}/{caller}"), time.monotonic() + seconds))  # noqa: S311

    async def _call_on(self, source: random.Random, until: float) -> None:
        while time.monotonic() < until:
            kind, x = source.choice(self.kinds), source.randrange(1000)
            request_id = uuid7()
            body = {"graph_id": self.graph_ids[kind.name], "inputs": {"X": x} if kind.name != "sent" else {}, "request_id": request_id}
            execution = await self.surely("POST", "/v1/executions", json=body)
            accepted = Accepted(execution["id"], request_id, kind, x)
            self.accepted.append(accepted)
            if accepted.kind.asks:
                await self._approve(accepted)
            if source.random() < CANCELLED_SHARE:
                accepted.is_cancelled = True
                await asyncio.sleep(source.random())
                await self.surely("POST", f"/v1/executions/{accepted.execution_id}:cancel", json={})
            await asyncio.sleep(source.random() * 0.1)

    async def _approve(self, run: Accepted) -> None:
        """Approves what the run asks, once it does."""
        path = f"/v1/executions/{run.execution_id}/reviews"
        until = time.monotonic() + _GIVE_UP_S
        while not (reviews := (await self.surely("GET", path))["reviews"]):
            if time.monotonic() > until:
                raise RefusedError(f"{path}: nothing was asked")
            await asyncio.sleep(_RETRY_S)
        decisions = [{"node_execution_id": review["node_execution_id"], "approved": True} for review in reviews]
        # Said of a decision whose first answer was lost.
        await self.surely("POST", path, json={"reviews": decisions}, done="REVIEW_DECIDED")

    async def surely(self, method: str, path: str, *, done: str = "", **more: Any) -> Any:
        """The answer to a call, repeated while the stack says that it cannot now, or says nothing.

        A refusal for the reason `done` counts as an answer.
        """
        until = time.monotonic() + _GIVE_UP_S
        while True:
            try:
                answer = await self.client.request(method, path, **more)
                code, text = answer.status_code, answer.text
            except httpx.TransportError as error:
                code, text = 0, repr(error)
            if code == httpx.codes.OK or (done and done in text):
                return answer.json()
            if code and code not in _PASSING:
                raise RefusedError(f"{method} {path}: {code} {text}")
            if time.monotonic() > until:
                raise RefusedError(f"{method} {path}: still {code} {text}")
            self.refusals[code] = self.refusals.get(code, 0) + 1
            await asyncio.sleep(_RETRY_S)
