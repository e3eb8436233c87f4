"""Signing keys change while everything stays up."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest_asyncio
from joserfc.jws import extract_compact

from mesh.errors import FailedPreconditionError
from mesh.host import Host, find_services, hosted
from mesh.identity.access_token import KEYS_MIN_AGE_S
from mesh.settings import Settings
from services.auth.keys import Seal
from services.auth.repository.signing_keys import SigningKeys
from services.auth.rotation import Rotation
from tests.integration.mesh.edges import edge_before

# Longer than the edge of this test keeps keys, and than services wait before they ask again for one that they do not know.
_AHEAD_S = KEYS_MIN_AGE_S + 1.0
_DEADLINE_S = 20.0


def _rotation(signing_keys: SigningKeys, seal: Seal, ring: Any, *, ahead_s: float = 60.0, max_age_s: float = 0.0) -> Rotation:
    return Rotation(signing_keys, seal, ring, access_ttl_s=900, ahead_s=ahead_s, max_age_s=max_age_s)


async def test_a_new_key_is_published_before_it_signs_and_the_old_one_verifies_after_it(signing_keys: SigningKeys, seal: Seal) -> None:
    ring = await signing_keys.key_ring(seal, 900)
    await _rotation(signing_keys, seal, ring).revoke()
    old = ring.signer.kid
    record = await _rotation(signing_keys, seal, ring, ahead_s=0.5).rotate()
    assert [key.kid for key in ring.keys] == [record.kid, old]
    assert ring.signer.kid == old
    deadline = time.monotonic() + _DEADLINE_S
    while ring.signer.kid == old:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert ring.signer.kid == record.kid
    assert old in [key.kid for key in (await signing_keys.key_ring(seal, 900)).keys]


async def test_a_rotation_waits_for_the_one_before_it(signing_keys: SigningKeys, seal: Seal) -> None:
    ring = await signing_keys.key_ring(seal, 900)
    rotation = _rotation(signing_keys, seal, ring)
    await rotation.revoke()
    answers = await asyncio.gather(*(rotation.rotate() for _ in range(4)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, FailedPreconditionError)]
    assert len(refused) == 3
    assert {error.reason for error in refused} == {"KEY_ROTATION_PENDING"}


async def test_revoked_keys_neither_sign_nor_verify(signing_keys: SigningKeys, seal: Seal) -> None:
    ring = await signing_keys.key_ring(seal, 900)
    rotation = _rotation(signing_keys, seal, ring)
    before = {key.kid for key in ring.keys}
    record = await rotation.revoke()
    assert [key.kid for key in ring.keys] == [record.kid] == [ring.signer.kid]
    assert record.kid not in before


async def test_a_key_that_is_too_old_is_replaced_and_other_processes_take_it_over(signing_keys: SigningKeys, seal: Seal) -> None:
    ring, other = await signing_keys.key_ring(seal, 900), await signing_keys.key_ring(seal, 900)
    young = _rotation(signing_keys, seal, ring, ahead_s=0.0, max_age_s=3600.0)
    await young.revoke()
    kid = ring.signer.kid
    await young.tick()
    assert ring.signer.kid == kid
    await _rotation(signing_keys, seal, ring, ahead_s=0.0, max_age_s=0.000001).tick()
    assert ring.signer.kid != kid
    await _rotation(signing_keys, seal, other).tick()
    assert other.signer.kid == ring.signer.kid


@pytest_asyncio.fixture
async def host(migrated: Settings) -> AsyncIterator[Host]:
    """Auth and user in one process; a new key signs after a few seconds."""
    changes = {"signing_key_ahead_s": _AHEAD_S, "owner_email": "boss@treadle.example"}
    async with hosted(find_services(["auth", "user"]), migrated.model_copy(update=changes)) as running:
        yield running


def _kid(token: str) -> Any:
    return extract_compact(token.encode()).headers()["kid"]


async def test_nobody_notices_a_rotation(host: Host) -> None:
    """Through a real edge that keeps the published keys for a second: tokens of before, during and after are all good."""
    body = {"email": f"{uuid4().hex}@example.com", "password": "correct horse battery"}
    async with edge_before(host, keys_max_age_s=1) as edge, httpx.AsyncClient(base_url=f"http://{edge}", timeout=20) as client:
        boss = {"email": "boss@treadle.example", "password": "correct horse battery"}
        answer = await client.post("/v1/auth/register", json=boss)
        answer = answer if answer.is_success else await client.post("/v1/auth/login", json=boss)
        admin = {"authorization": f"Bearer {answer.json()['access_token']}"}
        session = (await client.post("/v1/auth/register", json=body)).json()
        tokens = [session["access_token"]]
        rotated = await client.post("/v1/auth/signing_keys:rotate", json={}, headers=admin)
        assert rotated.status_code == 200, rotated.text
        new = rotated.json()["kid"]
        deadline = time.monotonic() + _DEADLINE_S
        while _kid(tokens[-1]) != new:
            assert time.monotonic() < deadline
            session = (await client.post("/v1/auth/refresh", json={"refresh_token": session["refresh_token"]})).json()
            tokens.append(session["access_token"])
            for token in (tokens[0], tokens[-1]):
                seen = await client.get("/v1/users/me", headers={"authorization": f"Bearer {token}"})
                assert seen.status_code == 200, seen.text
            await asyncio.sleep(0.1)
        listed = (await client.get("/v1/auth/signing_keys", headers=admin)).json()["keys"]
        assert [key["kid"] for key in listed][:2] == [new, _kid(tokens[0])]
        assert "retire_time" not in listed[0] or listed[0]["retire_time"] is None


async def test_only_administrators_rotate(host: Host) -> None:
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}") as client:
        body = {"email": f"{uuid4().hex}@example.com", "password": "correct horse battery"}
        token = (await client.post("/v1/auth/register", json=body)).json()["access_token"]
        for method, path in (("GET", "/v1/auth/signing_keys"), ("POST", "/v1/auth/signing_keys:rotate")):
            answer = await client.request(method, path, headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 403
