"""The watchdog: a process whose event loop stands still serves nobody, and never comes back by itself. It ends, and is started anew.

Two clocks, as no one of them sees everything, and none that runs while the process itself is stopped or its machine asleep:

- A thread looks once a second whether the loop has turned, and counts how often in a row it has not. It needs the interpreter's lock.
- Code that keeps that lock for ever burns the processor. The kernel counts that, and its signal writes the stacks without the lock.
"""

import asyncio
import faulthandler
import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Ends by the thread; those by the kernel show SIGPROF.
EXIT_CODE = 79
LOOK_S = 1.0
TURN_S = 0.5
# Other threads of the process use the processor as well, and the thread should be the first to notice.
_CPU_FACTOR = 3
_STDERR = 2


@contextmanager
def watching(limit_s: float) -> Iterator[None]:
    """Ends the process when the running loop has not turned for `limit_s` seconds, after the stacks of all threads, without values, are
    written to standard error. 0 watches nothing. To be entered in the main thread, once at a time.
    """
    if not limit_s:
        yield
        return
    turns = _Turns(limit_s * _CPU_FACTOR)
    is_over = threading.Event()
    thread = threading.Thread(target=_watch, args=(turns, is_over, math.ceil(limit_s / LOOK_S)), name="watchdog", daemon=True)
    faulthandler.register(signal.SIGPROF, file=_STDERR, chain=True)
    turns.turn()
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        turns.stop()
        faulthandler.unregister(signal.SIGPROF)


class _Turns:
    """Counts on the loop, and puts the kernel's clock back each time."""

    def __init__(self, cpu_s: float) -> None:
        self.count = 0
        self._cpu_s = cpu_s
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.TimerHandle | None = None

    def turn(self) -> None:
        self.count += 1
        signal.setitimer(signal.ITIMER_PROF, self._cpu_s)
        self._next = self._loop.call_later(TURN_S, self.turn)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        if self._next is not None:
            self._next.cancel()


def _watch(turns: _Turns, is_over: threading.Event, limit: int) -> None:
    seen, missed = 0, 0
    while not is_over.wait(LOOK_S):
        if turns.count != seen:
            seen, missed = turns.count, 0
            continue
        # Looks are counted, not seconds: of the time that the whole process was stopped, no more than one is missed.
        missed += 1
        if missed >= limit:
            _end(missed * LOOK_S)


def _end(stood_s: float) -> None:
    try:
        # What the loop hangs on may be that nobody reads what we write.
        os.set_blocking(_STDERR, False)
        os.write(_STDERR, f"the event loop has stood still for {stood_s:g} s; the process ends\n".encode())
        faulthandler.dump_traceback(_STDERR, all_threads=True)
        os.set_blocking(_STDERR, True)
    finally:
        os._exit(EXIT_CODE)
