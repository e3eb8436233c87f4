"""The supervisor: brings the stack up in order, restarts what dies, tells its state, takes everything down again."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mesh.local import postgres
from mesh.local.account import ensure_owner
from mesh.local.errors import LocalError, StartError
from mesh.local.keys import load_keys
from mesh.local.leftovers import stop_leftovers
from mesh.local.ports import Reservations
from mesh.local.program import Program, log_end, spawn, stop, wait_ready
from mesh.local.solo import Options, Solo, is_external
from mesh.local.state import ProcessState, StackState, SupervisorLock, read_state, start_mark, write_state
from mesh.tasks import end

_POLL_S = 0.1
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
# A process that ran this long starts its back-off anew.
_STEADY_S = 30.0
_HEALTH_INTERVAL_S = 1.0
_MIGRATE_TIMEOUT_S = 120.0
_THREADS = 32


class Supervised:
    """A program with its process and what is known of it."""

    def __init__(self, program: Program, process: "subprocess.Popen[bytes]") -> None:
        """The process has just been started and is ready."""
        self.program = program
        self.started = time.monotonic()
        self.process = process
        self.is_healthy = True
        self.restarts = 0
        self.created = start_mark(process.pid)

    def replace(self, process: "subprocess.Popen[bytes]") -> None:
        """Takes over a new process in place of one that ended."""
        self.process = process
        self.created = start_mark(process.pid)
        self.started = time.monotonic()
        self.restarts += 1

    def state(self) -> ProcessState:
        """For the state file."""
        program = self.program
        return ProcessState(
            name=program.name,
            kind=program.kind,
            pid=self.process.pid,
            healthy=self.is_healthy,
            restarts=self.restarts,
            address=program.address,
            created=self.created,
        )


class Supervisor:
    """Runs one stack from `run` until it is told to stop."""

    def __init__(self, options: Options, report: Callable[[str], None], lock: SupervisorLock) -> None:
        """`report` gets one line as each component comes up. The lock, ours already or not, is given back at the end."""
        self._options = options
        self._home = options.home.resolve()
        self._report = report
        self._lock = lock
        self._state = StackState(home=str(self._home))
        self._supervised: dict[str, Supervised] = {}
        self._ports = Reservations()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Brings the stack up, keeps it up until SIGTERM or SIGINT, takes it down. Raises LocalError when it cannot come up."""
        loop = asyncio.get_running_loop()
        # Each component waits in a thread of its own while it starts and stops.
        loop.set_default_executor(ThreadPoolExecutor(_THREADS, "supervisor"))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        if not self._lock.acquire():
            raise LocalError(f"A stack runs in {self._home} already.")
        try:
            stop_leftovers(read_state(self._home))
            self._state.supervisor_pid = os.getpid()
            self._write()
            await self._until_stopped()
        except (LocalError, OSError) as error:
            self._state.error = _explain(error)
            raise LocalError(self._state.error) from error
        finally:
            self._state.is_ready = False
            await self._take_down()
            self._write()
            self._ports.release()
            self._lock.release()

    async def _until_stopped(self) -> None:
        start = asyncio.create_task(self._bring_up(), name="bring up")
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        await asyncio.wait({start, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            await end(start)
            return
        start.result()
        watchers = [asyncio.create_task(self._watch(item), name=name) for name, item in self._supervised.items()]
        watchers.append(asyncio.create_task(self._check_health(), name="health"))
        await stopping
        await end(*watchers)

    async def _bring_up(self) -> None:
        began = time.monotonic()
        keys = load_keys(self._home)
        solo = Solo(self._options, keys, self._ports)
        self._state.edge_url, self._state.grpc_target = solo.edge_url, solo.edge_url.removeprefix("http://")
        await self._together(self._make_and_start(make) for make in solo.servers())
        if not is_external("postgres"):
            await postgres.create_database(solo.postgres_port, keys.postgres)
        await self._migrate(solo)
        await self._together(self._make_and_start(make) for make in solo.processes())
        await asyncio.to_thread(ensure_owner, self._home, self._state.grpc_target)
        self._state.is_ready = True
        self._progress(f"ready in {time.monotonic() - began:.1f} s: {self._state.edge_url}")

    async def _together(self, starts: Iterable[Coroutine[None, None, None]]) -> None:
        """Waits for all, also after one has failed, so that whatever was started is known and can be stopped."""
        results = await asyncio.gather(*starts, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _make_and_start(self, make: Callable[[], Program]) -> None:
        began = time.monotonic()
        await self._start(await asyncio.to_thread(make), began)

    async def _start(self, program: Program, began: float) -> None:
        process = spawn(program)
        self._supervised[program.name] = Supervised(program, process)
        # At once: should the supervisor be killed now, the next command finds what to stop.
        self._write()
        await asyncio.to_thread(wait_ready, program, process)
        self._progress(f"{program.name:<10} {program.address:<22} {time.monotonic() - began:.1f} s")

    async def _migrate(self, solo: Solo) -> None:
        began = time.monotonic()
        arguments, environment = solo.migrate_command()
        log = self._home / "logs" / "migrate.log"
        program = Program("migrate", "service", arguments, "", log, is_ready=lambda: False, env=environment)
        process = await asyncio.to_thread(spawn, program)
        try:
            code = await asyncio.to_thread(process.wait, _MIGRATE_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            stop(program, process)
            raise StartError(f"The migrations took longer than {_MIGRATE_TIMEOUT_S:g} s.\n{log_end(log)}") from error
        if code:
            raise StartError(f"The migrations failed.\n{log_end(log)}")
        self._progress(f"{'migrations':<10} {'':<22} {time.monotonic() - began:.1f} s")

    async def _watch(self, item: Supervised) -> None:
        """Restarts the program whenever it ends, at once at first, with growing pauses when it keeps ending."""
        pause = _FIRST_PAUSE_S
        while True:
            while item.process.poll() is None:  # noqa: ASYNC110 - there is no event for the end of a process
                await asyncio.sleep(_POLL_S)
            item.is_healthy = False
            self._log(f"{item.program.name} (pid {item.process.pid}) ended with code {item.process.returncode}; starting it again")
            if time.monotonic() - item.started > _STEADY_S:
                pause = _FIRST_PAUSE_S
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            try:
                item.replace(spawn(item.program))
            except StartError as error:
                self._log(str(error))
            self._write()

    async def _check_health(self) -> None:
        while True:
            items = list(self._supervised.values())
            answers = await asyncio.gather(*(asyncio.to_thread(item.program.is_ready) for item in items))
            changed = False
            for item, answer in zip(items, answers, strict=True):
                is_healthy = answer and item.process.poll() is None
                changed |= is_healthy != item.is_healthy
                item.is_healthy = is_healthy
            if changed:
                self._write()
            await asyncio.sleep(_HEALTH_INTERVAL_S)

    async def _take_down(self) -> None:
        """Stops what was started: the edge, then our processes, then the servers that they use."""
        for kinds in (("edge",), ("gateway", "service", "worker"), ("postgres", "nats", "cache")):
            group = [item for item in self._supervised.values() if item.program.kind in kinds]
            await asyncio.gather(*(asyncio.to_thread(stop, item.program, item.process) for item in group))
        self._supervised.clear()

    def _progress(self, line: str) -> None:
        self._state.progress.append(line)
        self._report(line)
        self._write()

    def _log(self, line: str) -> None:
        self._report(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}")

    def _write(self) -> None:
        self._state.processes = [item.state() for item in self._supervised.values()]
        try:
            write_state(self._home, self._state)
        except OSError as error:
            # A full disk must not take the stack down with it.
            self._log(f"the state could not be written: {error}")


def run_supervisor(options: Options, report: Callable[[str], None], lock: SupervisorLock) -> None:
    """Runs the supervisor in this process until it is stopped. Raises LocalError when the stack cannot come up."""
    asyncio.run(Supervisor(options, report, lock).run())


def supervisor_log(home: Path) -> Path:
    """Where a supervisor in the background writes."""
    return home / "logs" / "supervisor.log"


def _explain(error: Exception) -> str:
    import errno  # noqa: PLC0415

    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The disk is full. Make room and run `treadle up` again."
    return str(error)
