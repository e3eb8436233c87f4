"""The settings of the edge, as one who runs a stack gives them."""

import httpx
import pytest

from mesh.local.ports import free_port
from tests.e2e.conftest import Stack
from tests.integration.mesh.certificates import Authority


def test_a_stack_speaks_tls_beside_its_plain_port(fresh: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fresh.home.parent / "tls"
    folder.mkdir()
    authority, port = Authority(), free_port()
    authority.issue(folder)
    for name, value in {
        "TLS_LISTEN": f"127.0.0.1:{port}",
        "TLS_CERTIFICATE": str(folder / "tls.crt"),
        "TLS_KEY": str(folder / "tls.key"),
        "CORS_ORIGINS": "https://app.example",
    }.items():
        monkeypatch.setenv(f"TREADLE_EDGE_{name}", value)
    fresh.treadle("up", "--workers", "1")
    headers = {"authorization": f"Bearer {fresh.treadle('token').strip()}", "origin": "https://app.example"}
    with httpx.Client(verify=authority.trust(), base_url=f"https://localhost:{port}") as client:
        answer = client.get("/v1/users/me", headers=headers)
    assert answer.json()["email"] == "owner@treadle.example"
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["strict-transport-security"]


def test_a_setting_that_makes_no_sense_stops_the_start_and_is_named(fresh: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_EDGE_DENY_ADDRESSES", "10.0.0.1/8")
    result = fresh.run("up", "--workers", "1")
    assert result.returncode != 0
    assert "TREADLE_EDGE_DENY_ADDRESSES" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
