"""Assembly of the worker."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from mesh.ids import uuid7
from mesh.resources import Resources
from mesh.service import Running, Service
from services.execution.hooks import arm_plan
from services.execution.repository.suspects import Suspects
from services.execution.repository.verdicts import Verdicts
from services.execution.worker.cells import Cells
from services.execution.worker.dispatcher import Dispatcher
from services.execution.worker.holder import Holder
from services.execution.worker.judge import Judge
from services.execution.worker.loops import Loops, every
from services.execution.worker_ids import name_without_mark

# The schema is the execution service's: the worker is its other half, and the only one that shares it.
SCHEMA = "execution"
# How often what a lost worker left to do after its commits is looked for.
_AFTERMATH_S = 1.0


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Runs a worker; at the end it hands its runs over to the others."""
    arm_plan(resources.settings.test_hooks)
    worker = Worker(resources, (await resources.database(SCHEMA)).pool)
    worker.start()
    try:
        yield Running(is_healthy=lambda: worker.is_healthy)
    finally:
        await worker.stop()


class Worker:
    """A holder of runs, and the ways by which it gets them."""

    def __init__(self, resources: Resources, pool: asyncpg.Pool) -> None:
        settings = resources.settings
        # Unique for each start of the process: people see it in the rows, the fence is the epoch.
        self.id = f"{name_without_mark(settings.instance or socket.gethostname())}-{os.getpid()}-{uuid7()[-12:]}"
        self._resources = resources
        holder = self._holder = Holder(resources, pool, self.id)
        self._loops = Loops()
        self._dispatcher = Dispatcher(
            manager=holder.manager,
            keeper=holder.keeper,
            claims=holder.claims,
            judge=Judge(Verdicts(pool), holder.leases, self.id, lease_s=settings.lease_s, sweep_s=settings.sweep_s),
            rounds=holder.rounds,
            settings=settings,
        )
        self._cells = Cells(Suspects(pool, settings.lease_s), self.id, settings)

    @property
    def is_healthy(self) -> bool:
        """True while every loop runs and comes round, and others can see that this worker lives."""
        return self._holder.is_healthy and self._loops.are_running

    def start(self) -> None:
        """Starts the loops. Needs neither database nor bus to be up."""
        self._holder.start()
        self._loops.start(
            {
                "claims": self._dispatcher.run_claims(),
                "sweeps": self._when_alive(self._dispatcher.run_sweeps),
                "refills": self._when_alive(self._dispatcher.run_refills),
                "pull": self._when_alive(self._pull),
                "cells": self._when_alive(self._cells.run),
                "aftermath sweeps": every(_AFTERMATH_S, self._holder.aftermath.sweep, self._holder.rounds),
            }
        )

    async def stop(self) -> None:
        """Takes nothing new, hands the runs over, and ends."""
        await self._dispatcher.finish_claims()
        await self._loops.end()
        await asyncio.gather(self._cells.stop(), self._holder.stop())

    async def _pull(self) -> None:
        await self._dispatcher.run_pull(await self._resources.bus())

    async def _when_alive(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Takes no execution before others can see that this worker lives."""
        await self._holder.liveness.held.wait()
        await loop()


SERVICE = Service(name="worker", build=build, needs=("postgres", "nats"))
