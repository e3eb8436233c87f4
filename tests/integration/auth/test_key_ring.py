"""Signing keys on PostgreSQL."""

import asyncio
import base64
import secrets

import pytest

from mesh.database import Database
from services.auth.keys import Seal, SealError
from services.auth.repository.signing_keys import SigningKeys


async def test_processes_that_start_together_agree_on_one_key(signing_keys: SigningKeys, database: Database, seal: Seal) -> None:
    await database.pool.execute("DELETE FROM signing_key")
    rings = await asyncio.gather(*(signing_keys.key_ring(seal, 900) for _ in range(6)))
    assert len({ring.signer.kid for ring in rings}) == 1
    assert all(len(ring.keys) == 1 for ring in rings)
    assert await database.pool.fetchval("SELECT count(*) FROM signing_key") == 1


async def test_the_key_outlives_the_process(signing_keys: SigningKeys, seal: Seal) -> None:
    first, second = await signing_keys.key_ring(seal, 900), await signing_keys.key_ring(seal, 900)
    assert first.signer.public_jwk == second.signer.public_jwk


async def test_a_retired_key_verifies_as_long_as_its_tokens_live(signing_keys: SigningKeys, database: Database, seal: Seal) -> None:
    old = (await signing_keys.key_ring(seal, 900)).signer.kid
    await database.pool.execute("UPDATE signing_key SET retire_time = now() - interval '10 s' WHERE kid = $1", old)
    ring = await signing_keys.key_ring(seal, 900)
    assert ring.signer.kid != old
    assert [key.kid for key in ring.keys[1:]] == [old]
    assert old not in [key.kid for key in (await signing_keys.key_ring(seal, 5)).keys]


async def test_another_master_key_is_refused_and_changes_nothing(signing_keys: SigningKeys, database: Database, seal: Seal) -> None:
    kid = (await signing_keys.key_ring(seal, 900)).signer.kid
    other = Seal(base64.b64encode(secrets.token_bytes(32)).decode())
    with pytest.raises(SealError, match="another TREADLE_MASTER_KEY"):
        await signing_keys.key_ring(other, 900)
    assert (await signing_keys.key_ring(seal, 900)).signer.kid == kid
