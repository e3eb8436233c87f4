"""What CI installs before the tests: what is missing, when it may, and never at the price of the run."""

import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[3] / ".ci" / "run"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine on which `make` and `apt-get` only write down that they were called, as root, and nothing else is installed."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname"):
        (programs / name).symlink_to(shutil.which(name) or "")
    for name, script in {
        "id": "echo 0",
        "make": f"echo make $* >> {tmp_path}/log",
        "apt-get": f"echo apt-get $* >> {tmp_path}/log",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    return tmp_path


def called(machine: Path) -> list[str]:
    subprocess.run([RUN], env={"PATH": str(machine / "bin")}, check=True, capture_output=True)
    return (machine / "log").read_text().splitlines()


def test_what_is_missing_is_installed_and_then_the_tests_run(machine: Path) -> None:
    *apt, last = called(machine)
    assert apt[-1].startswith("apt-get install")
    assert apt[-1].endswith(" curl nodejs npm chromium")
    assert last == "make test"


def test_what_is_there_is_not_installed_again(machine: Path) -> None:
    for name in ("curl", "node", "npm"):
        (machine / "bin" / name).symlink_to("/bin/sh")
    assert called(machine)[-2].endswith("--no-install-recommends chromium")
    (machine / "log").unlink()
    (machine / "bin" / "chromium").symlink_to("/bin/sh")
    assert called(machine) == ["make test"]


def test_the_tests_run_also_where_nothing_can_be_installed(machine: Path) -> None:
    (machine / "bin" / "apt-get").write_text("#!/bin/sh\nexit 1\n")
    assert called(machine) == ["make test"]


def test_without_root_nothing_is_tried(machine: Path) -> None:
    (machine / "bin" / "id").write_text("#!/bin/sh\necho 1000\n")
    assert called(machine) == ["make test"]
