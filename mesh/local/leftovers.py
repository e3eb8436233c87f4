"""Ends what a supervisor left behind that was itself killed."""

import signal

import psutil

from mesh.local.program import kill_session
from mesh.local.state import StackState, find_process

_STOP_S = 20.0
_POSTGRES = "postgres"


def stop_leftovers(state: StackState | None) -> list[str]:
    """Stops the processes of the last state that still run, identified by pid and start time. Returns their names."""
    if state is None:
        return []
    found = [(item, find_process(item.pid, item.created)) for item in state.processes]
    alive = [(item, process) for item, process in found if process is not None]
    for item, process in alive:
        process.send_signal(signal.SIGINT if item.kind == _POSTGRES else signal.SIGTERM)
    _, stubborn = psutil.wait_procs([process for _, process in alive], timeout=_STOP_S)
    for process in stubborn:
        process.kill()
    for item, _ in alive:
        # What a server started itself; its session is the server's own.
        kill_session(item.pid)
    return [item.name for item, _ in alive]
