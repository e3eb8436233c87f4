"""Keeps the keys in hand those of the database, and changes them on demand or when they are old."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from mesh.chain.faults import translate
from mesh.logs import get_logger
from mesh.settings import Settings
from mesh.tasks import end
from services.auth import errors
from services.auth.keys import KeyRecord, KeyRing, Seal, SigningKey
from services.auth.repository.signing_keys import SigningKeys

# How often a process looks for keys that another one made. Well below the time for which a key is published ahead.
POLL_S = 15.0

_log = get_logger("auth")


class Rotation:
    """Rotates the signing keys of all processes of the service; `ring` is this one's copy of them."""

    def __init__(self, repository: SigningKeys, seal: Seal, ring: KeyRing, *, access_ttl_s: int, ahead_s: float, max_age_s: float) -> None:
        """A new key is published `ahead_s` before it signs. A key that has signed for `max_age_s` is replaced; 0 is never."""
        self._repository = repository
        self._seal = seal
        self._ring = ring
        self._access_ttl_s = access_ttl_s
        self._ahead_s = ahead_s
        self._max_age_s = max_age_s

    @classmethod
    def from_settings(cls, settings: Settings, repository: SigningKeys, seal: Seal, ring: KeyRing) -> "Rotation":
        """With the times of the settings."""
        return cls(
            repository,
            seal,
            ring,
            access_ttl_s=settings.access_token_ttl_s,
            ahead_s=settings.signing_key_ahead_s,
            max_age_s=settings.signing_key_max_age_s,
        )

    async def records(self) -> Sequence[KeyRecord]:
        """The keys that sign and verify, newest first."""
        return await self._repository.records(self._access_ttl_s)

    async def rotate(self) -> KeyRecord:
        """Makes a new key. Raises FAILED_PRECONDITION (KEY_ROTATION_PENDING)."""
        record = await self._repository.rotate(SigningKey.generate(), self._seal, self._ahead_s)
        if record is None:
            raise errors.rotation_pending(self._ahead_s)
        await self._changed("signing_key_rotated", record)
        return record

    async def revoke(self) -> KeyRecord:
        """Ends all keys and their tokens, and makes a new key."""
        record = await self._repository.revoke_all(SigningKey.generate(), self._seal)
        await self._changed("signing_keys_revoked", record)
        return record

    async def run(self) -> None:
        """Looks for changes until cancelled; outlives a database that is away."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.tick()
            except Exception as error:
                if translate(error) is None:
                    _log.exception("signing_keys_not_read")

    async def tick(self) -> None:
        """One look: takes over what others changed, replaces a key that is too old."""
        if self._max_age_s:
            record = await self._repository.rotate(SigningKey.generate(), self._seal, self._ahead_s, self._max_age_s)
            if record is not None:
                _log.info("signing_key_rotated", kid=record.kid, by_age=True)
        await self._reload()

    async def _changed(self, event: str, record: KeyRecord) -> None:
        _log.warning(event, kid=record.kid)
        await self._reload()

    async def _reload(self) -> None:
        self._ring.replace(await self._repository.key_ring(self._seal, self._access_ttl_s))


@asynccontextmanager
async def rotating(rotation: Rotation) -> AsyncIterator[Rotation]:
    """The rotation, looking for changes in the background while the context lasts."""
    task = asyncio.create_task(rotation.run(), name="auth-key-rotation")
    try:
        yield rotation
    finally:
        await end(task)
