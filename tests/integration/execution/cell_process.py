"""A cell as a process, with the tests' blocks: `python cell_process.py ID`, settings in the environment."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from services.execution.worker import cell
from tests.integration.execution import touch

if __name__ == "__main__":
    touch.install()
    if touch.NO_DEATH_SIGNAL in os.environ:
        # As on a system that has none: an option of prctl that is not there.
        cell.PR_SET_PDEATHSIG = -1
    cell.main(sys.argv[1])
