"""Everything that can die dies at random while executions run; afterwards each journal is checked against the sequential model."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from mesh.local import postgres
from mesh.local.keys import load_keys
from mesh.local.state import live_state
from tests.chaos.checker import faults_of_rows, faults_of_run
from tests.chaos.effects import Effects, effect_server
from tests.chaos.load import Load
from tests.chaos.monkey import Monkey
from tests.chaos.workload import Kind, kinds, nested

TREADLE = str(Path(sys.executable).parent / "treadle")
CALLERS = 10
# How long after the last fault everything must have ended.
CALM_S = 60.0
# Least runs for a test that is worth its name.
LEAST_RUNS = 100
_PAGE = 1000


@contextmanager
def stack(effects: Effects) -> Iterator[Path]:
    """A stack of its own, which may call the effect server."""
    folder = Path(tempfile.mkdtemp(prefix="treadle-chaos-"))
    home = folder / "home"
    environment = {**os.environ, "TREADLE_HTTP_BLOCK_ALLOW_HOSTS": effects.host}
    try:
        _treadle(home, "up", "--edge-port", "0", "--workers", "2", env=environment)
        yield home
    finally:
        _treadle(home, "down")
        shutil.rmtree(folder, ignore_errors=True)


def _treadle(home: Path, *words: str, env: dict[str, str] | None = None) -> str:
    command = [TREADLE, "--home", str(home), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=env).stdout


@pytest.mark.timeout(0)
async def test_whatever_dies_every_run_ends_as_it_should(seed: int, seconds: float, record_property: Any) -> None:
    print(f"chaos: seed {seed}, {seconds:g} s; again with TREADLE_CHAOS_SEED={seed}")
    with effect_server() as effects, stack(effects) as home:
        monkey = Monkey(home, seed)
        state = live_state(home)
        assert state is not None
        headers = {"authorization": f"Bearer {_treadle(home, 'token').strip()}"}
        async with httpx.AsyncClient(base_url=state.edge_url, headers=headers, timeout=15) as client:
            load = Load(client, {}, kinds(effects.url), seed)
            for kind in load.kinds:
                await _save(load, kind)
            for inner in ("pure", "delayed"):
                load.kinds.append(nested(load.graph_ids[inner], next(kind for kind in load.kinds if kind.name == inner)))
                await _save(load, load.kinds[-1])
            await asyncio.gather(monkey.run(seconds), load.run(CALLERS, seconds))
            faults = await _calm(home, load) + await _check(load, effects)
        story = "\n".join([*monkey.deeds, f"{len(load.accepted)} runs, answers repeated: {load.refusals}"])
        print(story)
        record_property("seed", seed)
        if faults:
            kept = Path(tempfile.gettempdir()) / f"treadle-chaos-{seed}-logs"
            shutil.copytree(home / "logs", kept, dirs_exist_ok=True)
            pytest.fail(f"seed {seed}: {len(faults)} faults, logs in {kept}\n" + "\n".join(faults[:50]) + f"\n{story}")
    assert len(load.accepted) >= LEAST_RUNS


async def _save(load: Load, kind: Kind) -> None:
    load.graph_ids[kind.name] = (await load.surely("POST", "/v1/graphs", json=kind.graph))["id"]


async def _calm(home: Path, load: Load) -> list[str]:
    """Waits until nothing is left to do; what is left then is a fault."""
    until = time.monotonic() + CALM_S
    while True:
        try:
            faults = await _look(home, load)
        except (OSError, asyncpg.PostgresError) as error:
            faults = [f"the database does not answer: {error!r}"]
        if not faults or time.monotonic() > until:
            return faults
        await asyncio.sleep(0.5)


async def _look(home: Path, load: Load) -> list[str]:
    state = live_state(home)
    assert state is not None
    address = next(process.address for process in state.processes if process.name == "postgres")
    connection = await asyncpg.connect(postgres.url(int(address.rpartition(":")[2]), load_keys(home).postgres), timeout=5)
    try:
        return await faults_of_rows(connection, load.accepted)
    finally:
        await connection.close()


async def _check(load: Load, effects: Effects) -> list[str]:
    faults = []
    for run in load.accepted:
        path = f"/v1/executions/{run.execution_id}"
        execution = await load.surely("GET", path)
        events: list[dict[str, Any]] = []
        while len(events) < execution["last_seq"]:
            page = await load.surely("GET", f"{path}/events", params={"after_seq": len(events), "page_size": _PAGE})
            if not page["events"]:
                break
            events += page["events"]
        faults += [f"{run.execution_id} ({run.kind.name}): {fault}" for fault in faults_of_run(run, execution, events, effects)]
    return faults
