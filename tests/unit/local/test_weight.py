"""What a process of the stack must not load: libraries that weigh megabytes in each and that it never uses."""

import subprocess
import sys

import pytest

_LOAD = """
import sys
import mesh.local.process
from mesh.host import find_services
find_services([sys.argv[1]])
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""


@pytest.mark.parametrize("name", ["worker", "gateway"])
def test_workers_and_the_gateway_do_without_sqlalchemy_and_the_command_line(name: str) -> None:
    heavy = ["sqlalchemy", "alembic", "typer", "mesh.cli"]
    result = subprocess.run([sys.executable, "-c", _LOAD, name, *heavy], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_the_supervisor_does_without_contracts_clients_and_the_command_line() -> None:
    heavy = ["grpc", "google.protobuf", "pydantic", "redis", "nats", "sqlalchemy", "typer", "rich"]
    code = "import sys, mesh.local.__main__; print(*(name for name in sys.argv[1:] if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
