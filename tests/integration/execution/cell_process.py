"""A cell as a process, with the tests' blocks: `python cell_process.py ID`, settings in the environment."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from services.execution.worker.cell import main
from tests.integration.execution import touch

if __name__ == "__main__":
    touch.install()
    main(sys.argv[1])
