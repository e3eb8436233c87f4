"""Making, ending and checking API keys: the rules, without SQL and without gRPC."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from mesh.call import Caller
from mesh.ids import canonical_uuid
from services.auth import errors
from services.auth.api_key import ApiKey, KnownKey, NewApiKey, digest_of, new_text, prefix_of
from services.auth.repository.api_keys import ApiKeys
from services.auth.roles import NOT_FOR_KEYS, SCOPES_OF, Role, scopes_of

# Keys that one account may have.
MAX_KEYS = 100

# Tells all processes that a key, a sign-in or an account has changed.
Announce = Callable[[str], Awaitable[None]]


class KeyDesk:
    """The keys of all users. `announce` gets the id of each key that works no more."""

    def __init__(self, repository: ApiKeys, announce: Announce) -> None:
        self._repository = repository
        self._announce = announce

    async def create(self, caller: Caller, name: str, scopes: Sequence[str], expire_time: datetime | None) -> tuple[ApiKey, str]:
        """A new key and its text, which is kept nowhere. Its scopes are among the caller's."""
        if expire_time is not None and expire_time <= datetime.now(UTC):
            raise errors.expire_time_past()
        wanted = frozenset(scopes) or (SCOPES_OF[Role.USER] - NOT_FOR_KEYS) & caller.scopes
        missing = wanted - (caller.scopes - NOT_FOR_KEYS)
        if missing:
            raise errors.scopes_not_granted(sorted(missing))
        text = new_text()
        new = NewApiKey(caller.user_id, name, prefix_of(text), digest_of(text), wanted, expire_time)
        key = await self._repository.create(new, MAX_KEYS)
        if key is None:
            raise errors.too_many_keys(MAX_KEYS)
        return key, text

    async def get(self, caller: Caller, key_id: str) -> ApiKey:
        """A key of the caller. Raises NOT_FOUND (API_KEY_NOT_FOUND)."""
        known = canonical_uuid(key_id)
        key = await self._repository.get(caller.user_id, known) if known else None
        return _found(key)

    async def page(self, caller: Caller, before: str | None, size: int) -> list[ApiKey]:
        """The caller's keys that are older than `before`, newest first."""
        return await self._repository.page(caller.user_id, before, size)

    async def suspend(self, caller: Caller, key_id: str, *, is_resumed: bool) -> ApiKey:
        """Suspends a key, or takes that back. Raises NOT_FOUND (API_KEY_NOT_FOUND)."""
        known = canonical_uuid(key_id)
        key = _found(await self._repository.suspend(caller.user_id, known, is_resumed=is_resumed) if known else None)
        await self._announce(key.id)
        return key

    async def delete(self, caller: Caller, key_id: str) -> None:
        """Ends a key. Raises NOT_FOUND (API_KEY_NOT_FOUND)."""
        known = canonical_uuid(key_id)
        if not known or not await self._repository.delete(caller.user_id, known):
            raise errors.key_not_found()
        await self._announce(known)

    async def verify(self, text: str) -> tuple[KnownKey, frozenset[str]]:
        """Whose the key is, and what it may do with the roles that its owner has today. Raises UNAUTHENTICATED."""
        prefix = prefix_of(text)
        known = await self._repository.find(prefix) if prefix else None
        if known is None or not hmac.compare_digest(known.digest, digest_of(text)):
            raise errors.key_refused("API_KEY_INVALID", "The API key is not valid.")
        if known.is_expired:
            raise errors.key_refused("API_KEY_EXPIRED", "The API key has expired.")
        if known.key.suspend_time is not None:
            raise errors.key_refused("API_KEY_SUSPENDED", "The API key is suspended.")
        await self._repository.touch(known.key.id)
        return known, known.key.scopes & scopes_of(known.owner.roles)


def _found(key: ApiKey | None) -> ApiKey:
    if key is None:
        raise errors.key_not_found()
    return key
