"""The reference page as a browser gets it through the edge."""

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Stack

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def test_the_page_keeps_its_own_policy_and_gets_the_other_headers(client: httpx.Client) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    document = client.get("/openapi.json")
    assert document.json()["openapi"] == "3.1.0"
    assert document.headers["content-security-policy"].startswith("default-src 'none'; base-uri")


def test_a_browser_shows_it_without_a_complaint(stack: Stack, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    picture = tmp_path / "docs.png"
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}")
    logged = ("--enable-logging=stderr", "--v=0", f"--screenshot={picture}", "--window-size=1400,1600")
    command = [CHROMIUM, *options, *logged, f"{stack.status['edge_url']}/docs"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "Content Security Policy" not in result.stderr
    # A page whose style was refused, or that is empty, is a tenth of this.
    assert picture.stat().st_size > 100_000
