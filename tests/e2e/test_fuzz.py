"""Schemathesis against the whole stack: whatever is sent, an answer is one that the reference announces, and none is a 5xx.

Another seed: `TREADLE_FUZZ_SEED=7 pytest tests/e2e/test_fuzz.py`; the seed of a run is in its output.
"""

import os
import subprocess
import sys
from pathlib import Path

import httpx

from mesh.ids import uuid7
from tests.e2e.conftest import Stack

SCHEMATHESIS = str(Path(sys.executable).parent / "schemathesis")
SEED = os.environ.get("TREADLE_FUZZ_SEED", "4")
EXAMPLES = os.environ.get("TREADLE_FUZZ_EXAMPLES", "6")
BUDGET_S = 60
# Not these: `null` stands for an absent field and enums may be numbers, as in all protobuf JSON; a body that fits its schema may still
# name a block that does not exist; and verbs that HTTP/1 parsers do not know yet (QUERY) get 400 from them.
NOT_CHECKED = "positive_data_acceptance,negative_data_rejection,unsupported_method"


def test_whatever_is_sent_gets_an_answer_that_the_reference_announces(stack: Stack, tmp_path: Path) -> None:
    edge = stack.status["edge_url"]
    command = [
        *(SCHEMATHESIS, "run", f"{edge}/openapi.json", "--header", f"Authorization: Bearer {_newcomer(edge)}"),
        *("--checks", "all", "--exclude-checks", NOT_CHECKED, "--continue-on-failure", "--no-shrink", "--warnings", "off"),
        *("--seed", SEED, "--max-examples", EXAMPLES, "--max-time", str(BUDGET_S), "--request-timeout", "20", "--no-color"),
        *("--generation-database", "none"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=170, cwd=tmp_path)
    sys.stdout.write(result.stdout[-20_000:])
    assert result.returncode == 0, result.stderr[-2000:]
    assert f"Seed: {SEED}" in result.stdout


def _newcomer(edge: str) -> str:
    """The token of a user of the test's own: what the run makes and breaks is nobody else's."""
    account = {"email": f"fuzz-{uuid7()}@treadle.example", "password": "correct horse battery staple", "display_name": "Fuzz"}
    token: str = httpx.post(f"{edge}/v1/auth/register", json=account, timeout=20).raise_for_status().json()["access_token"]
    return token
