"""Who holds a stack, told by its lock and its state; which process is which."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.local.state import StackState, SupervisorLock, find_process, live_state, start_mark, write_state


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_the_lock_has_one_holder_and_names_it(tmp_path: Path) -> None:
    assert not SupervisorLock.is_held(tmp_path)
    assert list(tmp_path.iterdir()) == [], "looking leaves no file"
    one, other = SupervisorLock(tmp_path), SupervisorLock(tmp_path)
    assert one.acquire()
    assert not other.acquire()
    assert SupervisorLock.holder(tmp_path) == os.getpid()
    one.release()
    assert SupervisorLock.holder(tmp_path) == 0
    assert other.acquire()
    other.release()


def test_a_lock_that_was_handed_over_outlives_the_giver(tmp_path: Path) -> None:
    lock = SupervisorLock(tmp_path)
    assert lock.acquire()
    words = [sys.executable, "-c", "input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[lock.fileno()]) as process:
        lock.name(process.pid)
        lock.release()
        assert SupervisorLock.holder(tmp_path) == process.pid
        process.kill()
    assert not SupervisorLock.is_held(tmp_path)


def test_the_state_of_an_earlier_supervisor_is_not_taken_for_todays(tmp_path: Path) -> None:
    lock = SupervisorLock(tmp_path)
    assert lock.acquire()
    write_state(tmp_path, StackState(home=str(tmp_path), supervisor_pid=os.getpid() + 1, is_ready=True))
    assert live_state(tmp_path) is None
    write_state(tmp_path, StackState(home=str(tmp_path), supervisor_pid=os.getpid(), is_ready=True))
    assert live_state(tmp_path) is not None
    lock.release()
    assert live_state(tmp_path) is None


def test_a_pid_that_has_passed_to_another_process_is_not_the_one_we_knew(child: "subprocess.Popen[bytes]") -> None:
    mark = start_mark(child.pid)
    assert mark > 0
    found = find_process(child.pid, mark)
    assert found is not None
    assert found.pid == child.pid
    assert find_process(child.pid, mark + 1) is None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert find_process(child.pid, mark) is None, "a process that has ended is gone before its parent has looked"
    child.wait()
    assert start_mark(child.pid) == 0
