"""Password hashing with argon2id, off the event loop and bounded in memory and queue."""

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.auth.errors import too_many_sign_ins

_T = TypeVar("_T")

# OWASP's second profile for argon2id: 19 MiB, two passes, one lane: about 20 ms of one core.
_MEMORY_KIB = 19 * 1024
_PASSES = 2
_LANES = 1
# Hashes at work at the same time, and in the queue behind them (some two seconds of work).
_THREADS = 2
_MAX_WAITING = 128
_RETRY_AFTER_S = 2.0


class Passwords:
    """Hashes and checks passwords. Refuses with RESOURCE_EXHAUSTED when too many wait; call `close` at the end."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")
        self._waiting = 0
        # Checked in place of the hash of an account that does not exist, so that the answer takes as long.
        self._decoy = self._hasher.hash("decoy")

    async def hash(self, password: str) -> str:
        """The argon2id hash, salted, in PHC text form."""
        return await self._run(self._hasher.hash, _normal(password))

    async def matches(self, password: str, hashed: str | None) -> bool:
        """Whether the password gives this hash. None, an account that does not exist, takes the same time and is False."""
        is_match = await self._run(self._verify, hashed or self._decoy, _normal(password))
        return is_match and hashed is not None

    def is_outdated(self, hashed: str) -> bool:
        """Whether a hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(hashed)

    def close(self) -> None:
        """Ends the threads; what is queued is given up."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., _T], *args: str) -> _T:
        if self._waiting >= _MAX_WAITING:
            raise too_many_sign_ins(_RETRY_AFTER_S)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        finally:
            self._waiting -= 1


def _normal(password: str) -> str:
    # The same password typed on two systems may arrive in two Unicode forms.
    return unicodedata.normalize("NFKC", password)
