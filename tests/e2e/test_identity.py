"""Accounts as people and operators meet them on a whole stack."""

import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.e2e.conftest import Stack, wait_for

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def stranger(stack: Stack) -> Any:
    """A client that is nobody yet."""
    with httpx.Client(base_url=stack.status["edge_url"], timeout=30) as made:
        yield made


def _register(stranger: httpx.Client) -> dict[str, Any]:
    body = {"email": f"ann-{uuid4().hex}@example.com", "password": uuid4().hex, "display_name": "Ann"}
    session: dict[str, Any] = stranger.post("/v1/auth/register", json=body).raise_for_status().json()
    return session | {"password": body["password"]}


def _look(url: str, tmp_path: Path) -> str:
    """What a browser shows of a page."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}")
    command = [CHROMIUM, *options, "--virtual-time-budget=10000", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def test_the_owner_rotates_the_keys_and_nobody_is_signed_out(stack: Stack, client: httpx.Client) -> None:
    before = stack.json("keys", "list")
    new = stack.json("keys", "rotate")
    assert new["kid"] not in {key["kid"] for key in before}
    listed = stack.json("keys", "list")
    assert [key["kid"] for key in listed][:2] == [new["kid"], before[0]["kid"]]
    assert client.get("/v1/users/me").status_code == 200
    published = {key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]}
    assert {new["kid"], before[0]["kid"]} <= published
    # The new one is published to all before it signs.
    assert "does not sign yet" in stack.run("keys", "rotate").stderr


def test_mails_lie_in_the_folder_and_their_links_work_in_a_browser(stack: Stack, stranger: httpx.Client, tmp_path: Path) -> None:
    session = _register(stranger)
    headers = {"authorization": f"Bearer {session['access_token']}"}
    stranger.post("/v1/auth/email:request_verification", json={}, headers=headers).raise_for_status()
    address = session["user"]["email"]

    def mine() -> list[str]:
        texts = [path.read_text() for path in sorted((stack.home / "mail").glob("*.eml"))]
        return [text for text in texts if f"To: {address}" in text]

    wait_for(lambda: bool(mine()), "the mail")
    link = next(line for line in mine()[0].splitlines() if "/account/" in line).strip()
    assert link.startswith(f"{stack.status['edge_url']}/account/verify-email#token=")
    assert f"Thank you: {address} is yours." in _look(link, tmp_path)
    assert "not valid any more" in _look(link, tmp_path)


def test_a_sign_in_link_signs_a_browser_in(client: httpx.Client, tmp_path: Path) -> None:
    link = client.post("/v1/auth/sign_in_links", json={}).raise_for_status().json()["link"]
    assert "You are signed in as owner@treadle.example." in _look(link, tmp_path)


def test_up_prints_a_link_that_signs_the_owner_in_once(stack: Stack, stranger: httpx.Client, tmp_path: Path) -> None:
    said = stack.run("up", "--json")
    assert json.loads(said.stdout)["edge_url"] == stack.status["edge_url"]
    link = next(word for word in said.stderr.split() if "/account/" in word)
    address, token = link.split("#token=")
    assert address == f"{stack.status['edge_url']}/account/sign-in"
    session = stranger.post("/v1/auth/sign_in_links:redeem", json={"token": token}).raise_for_status().json()
    assert session["email"] == "owner@treadle.example"
    me = stranger.get("/v1/users/me", headers={"authorization": f"Bearer {session['access_token']}"})
    assert me.json()["email"] == "owner@treadle.example"
    used = stranger.post("/v1/auth/sign_in_links:redeem", json={"token": token})
    assert (used.status_code, used.json()["details"][0]["reason"]) == (401, "LINK_INVALID")
    # Whoever reads logs is not signed in by them.
    assert not [path for path in (stack.home / "logs").iterdir() if token in path.read_text(errors="replace")]
    # Each call prints a new one, and a browser takes it like any other.
    again = next(word for word in stack.run("up").stderr.split() if "/account/" in word)
    assert again != link
    assert "You are signed in as owner@treadle.example." in _look(again, tmp_path)
    assert "not valid any more" in _look(again, tmp_path)


def test_the_page_talks_to_nobody_else(stranger: httpx.Client) -> None:
    answer = stranger.get("/account/sign-in")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "connect-src 'self'" in policy
    assert answer.headers["cache-control"] == "no-store"


def test_who_guesses_is_stopped_whatever_address_they_claim(stranger: httpx.Client) -> None:
    body = {"email": f"{uuid4().hex}@example.com", "password": "wrong"}
    codes = []
    for n in range(12):
        answer = stranger.post("/v1/auth/login", json=body, headers={"x-forwarded-for": f"192.0.2.{n}"})
        codes.append(answer.status_code)
    assert codes == [401] * 10 + [429] * 2
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["details"][0]["reason"] == "SIGN_IN_THROTTLED"


def test_a_session_shows_the_address_that_the_edge_saw(stranger: httpx.Client) -> None:
    """For clients on its own machine the edge puts down the machine's address."""
    stranger.headers["x-forwarded-for"] = "203.0.113.9"
    session = _register(stranger)
    listed = stranger.get("/v1/auth/sessions", headers={"authorization": f"Bearer {session['access_token']}"})
    assert listed.json()["sessions"][0]["source_address"] not in {"", "203.0.113.9"}


def test_an_api_key_opens_rest_and_the_socket_s_tickets(stranger: httpx.Client) -> None:
    session = _register(stranger)
    headers = {"authorization": f"Bearer {session['access_token']}"}
    made = stranger.post("/v1/api_keys", json={"name": "ci"}, headers=headers).raise_for_status().json()
    with_key = {"authorization": f"Bearer {made['secret']}"}
    assert stranger.get("/v1/graphs", headers=with_key).status_code == 200
    assert stranger.post("/v1/ws-tickets", headers=with_key).status_code == 200
    assert json.loads(stranger.get("/v1/users/me", headers=with_key).text)["email"] == session["user"]["email"]


def test_an_administrator_cannot_act_for_others_unseen(client: httpx.Client, stranger: httpx.Client) -> None:
    """It is written down before it happens, and how it ended; and nobody else may at all."""
    session = _register(stranger)
    own, as_ann = {"authorization": f"Bearer {session['access_token']}"}, {"x-treadle-on-behalf-of": session["user"]["id"]}
    stranger.get("/v1/users/me", headers=own).raise_for_status()
    assert client.get("/v1/users/me", headers=as_ann).json()["email"] == session["user"]["email"]
    query = {"user_id": session["user"]["id"], "method": "GetMe"}

    def codes() -> list[str]:
        records = client.get("/v1/audit/records", params=query).raise_for_status().json()["records"]
        return [record["code"] for record in records if record["actor_id"] != session["user"]["id"]]

    wait_for(lambda: sorted(codes()) == ["BEGUN", "OK"], "two records of what the administrator did")
    assert client.get("/v1/audit/records:verify").json()["is_intact"]
    other = stranger.get("/v1/users/me", headers={**own, **as_ann})
    assert (other.status_code, other.json()["details"][0]["reason"]) == (403, "SCOPE_MISSING")


def test_people_take_their_data_with_them_and_leave(client: httpx.Client, stranger: httpx.Client) -> None:
    session = _register(stranger)
    headers = {"authorization": f"Bearer {session['access_token']}"}
    graph = {"name": "mine", "nodes": [{"id": "a", "block_id": "1ff065e9-88e8-4358-9d82-8dc91f622ba9", "input_default": {"input": 1}}]}
    made = stranger.post("/v1/graphs", json=graph, headers=headers).raise_for_status().json()
    stranger.post("/v1/executions", json={"graph_id": made["id"]}, headers=headers).raise_for_status()
    exported = stranger.post("/v1/users/me:export", json={}, headers=headers).raise_for_status()
    with zipfile.ZipFile(io.BytesIO(exported.content)) as archive:
        assert archive.testzip() is None
        assert {"auth/account.ndjson", "graph/graphs.ndjson", "execution/executions.ndjson"} <= set(archive.namelist())
    stranger.post("/v1/users/me:delete", json={"email": session["user"]["email"]}, headers=headers).raise_for_status()

    def is_erased() -> bool:
        deletions = client.get("/v1/users/deletions").raise_for_status().json()["deletions"]
        return any(item["user_id"] == session["user"]["id"] and not item.get("waiting_for") for item in deletions)

    wait_for(is_erased, "all services have erased the account")
    sign_in = {"email": session["user"]["email"], "password": session["password"]}
    assert stranger.post("/v1/auth/login", json=sign_in).status_code == 401
    assert stranger.get("/v1/graphs", headers=headers).status_code == 401
