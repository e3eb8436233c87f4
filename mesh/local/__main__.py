"""The supervisor in the background: what `treadle up` starts, without the libraries of the command line."""

import argparse
import sys
from pathlib import Path

from mesh.local.errors import LocalError
from mesh.local.solo import Options
from mesh.local.state import SupervisorLock
from mesh.local.supervisor import run_supervisor


def main() -> int:
    """Runs the supervisor until SIGTERM. The exit code is 1 when the stack cannot come up; why is in its state and its log."""
    parser = argparse.ArgumentParser(prog="python -m mesh.local")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--edge-port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--lock", type=int, required=True, help="descriptor of the lock that the command has taken for us")
    words = parser.parse_args()
    options = Options(home=words.home, edge_port=words.edge_port, workers=words.workers)
    try:
        run_supervisor(options, lambda line: print(line, flush=True), SupervisorLock(words.home, words.lock))
    except LocalError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
