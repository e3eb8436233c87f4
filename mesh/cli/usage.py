"""What the processes of a stack use: processor time and memory, by component, as the system accounts for them."""

import psutil

from mesh.local.state import StackState, find_process

_BYTES_PER_MB = 1024 * 1024


def cpu_s(state: StackState) -> dict[str, float]:
    """CPU seconds used so far by each component and its children."""
    used: dict[str, float] = {}
    for item in state.processes:
        process = find_process(item.pid, item.created)
        if process is not None:
            # Sessions of PostgreSQL come and go; those that went are in the parent's account.
            used[item.name] = sum(map(_cpu_s, [process, *process.children(recursive=True)])) + _gone_s(process)
    return used


def memory_mb(state: StackState) -> dict[str, float]:
    """Memory of each component in MiB: the proportional share (PSS) where the system tells it, so that shared pages count once."""
    found: dict[str, float] = {}
    for item in state.processes:
        process = find_process(item.pid, item.created)
        if process is not None:
            found[item.name] = round(sum(map(_memory_mb, [process, *process.children(recursive=True)])), 1)
    return found


def since(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What was used in between. A component that was restarted counts from its start."""
    return {name: max(used - before.get(name, 0.0), 0.0) for name, used in after.items()}


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _gone_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.children_user + times.children_system)


def _memory_mb(process: psutil.Process) -> float:
    try:
        return float(getattr(process.memory_full_info(), "pss", process.memory_info().rss)) / _BYTES_PER_MB
    except psutil.Error:
        return 0.0
