"""What is done around a program: its log, its leftovers, its port."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mesh.local.errors import PortTakenError
from mesh.local.leftovers import stop_leftovers
from mesh.local.ports import LOOPBACK, check_port, free_port
from mesh.local.program import MAX_LOG_BYTES, turn_over
from mesh.local.state import ProcessState, StackState, start_mark

_PARENT_THAT_IGNORES_ITS_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_large_log_is_put_aside_and_only_one_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "services.log"
    turn_over(log)
    for first in (b"a", b"b"):
        log.write_bytes(first * MAX_LOG_BYTES)
        turn_over(log)
        assert log.exists(), "as large as allowed"
        log.write_bytes(first * (MAX_LOG_BYTES + 1))
        turn_over(log)
        assert not log.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["services.log.old"]
    assert (tmp_path / "services.log.old").read_bytes()[:1] == b"b"


def test_leftovers_are_stopped_with_what_they_started(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PARENT_THAT_IGNORES_ITS_CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        item = ProcessState("services", "service", process.pid, True, 0, "", start_mark(process.pid))
        assert stop_leftovers(StackState(home=str(tmp_path), processes=[item])) == ["services"]
        assert psutil.wait_procs([child], timeout=10)[1] == []


def test_a_port_that_cannot_be_had_is_refused_with_the_reason() -> None:
    check_port(free_port())
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"Port {port} is taken by another program"):
            check_port(port)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() == 0, reason="root may use every port")
def test_a_port_for_root_only_is_not_called_taken() -> None:
    with pytest.raises(PortTakenError, match="may not be used by this account"):
        check_port(1)
