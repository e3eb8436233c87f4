"""A worker as a process of its own, with the tests' block: `python worker_process.py`, settings in the environment."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from mesh.host import serve
from mesh.settings import Settings
from tests.integration.execution import touch

if __name__ == "__main__":
    touch.install()
    asyncio.run(serve(["worker"], Settings()))
