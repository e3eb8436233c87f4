"""Verifies API keys by asking the auth service, and remembers its answers for a short while."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mesh.errors import DeadlineExceededError, UnauthenticatedError, UnavailableError
from mesh.identity.access_token import AccessClaims
from mesh.logs import get_logger

# How the text of every key begins.
PREFIX = "trd_"
# An answer is used for so long; what changes meanwhile comes over the bus.
FRESH_S = 30.0
# Known keys go on for this long while nobody answers.
STALE_S = 300.0
MAX_KNOWN = 10_000

# Nobody is asked about text that cannot be a key.
_FORM = re.compile(r"trd_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", re.ASCII)

_log = get_logger("mesh.identity")

Ask = Callable[[str], Awaitable[AccessClaims]]


@dataclass(slots=True)
class _Known:
    claims: AccessClaims
    asked_at: float


class ApiKeyVerifier:
    """Says whose a key is. A key seen within the last 30 s costs a dictionary look-up; many calls with a new one ask once."""

    def __init__(self, ask: Ask) -> None:
        """`ask` gets the auth service's verdict: claims, or UnauthenticatedError."""
        self._ask = ask
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[AccessClaims]] = {}

    async def verify(self, text: str) -> AccessClaims:
        """Raises UnauthenticatedError, and UnavailableError when an unknown key cannot be checked at the moment."""
        known = self._known.get(text)
        if known is None and not _FORM.fullmatch(text):
            raise UnauthenticatedError("The API key is not valid.", reason="API_KEY_INVALID")
        if known is None or time.monotonic() - known.asked_at > FRESH_S:
            claims = await self._renew(text, known)
        else:
            claims = known.claims
        if claims.expires_at <= time.time():
            self._known.pop(text, None)
            raise UnauthenticatedError("The API key has expired.", reason="API_KEY_EXPIRED")
        return claims

    def forget(self, id: str) -> None:
        """Asks anew for the key with this id, or for all keys of the user with this id."""
        for text in [text for text, known in self._known.items() if id in {known.claims.session_id, known.claims.user_id}]:
            del self._known[text]

    def forget_all(self) -> None:
        """Asks anew for every key: news may have been missed."""
        self._known.clear()

    async def _renew(self, text: str, known: _Known | None) -> AccessClaims:
        task = self._asking.get(text)
        if task is None:
            task = self._asking[text] = asyncio.create_task(self._fetch(text), name="verify-api-key")
            task.add_done_callback(lambda done: self._done(text, done))
        try:
            # One caller's end is no reason to leave the others without an answer.
            return await asyncio.shield(task)
        except (UnavailableError, DeadlineExceededError):
            if known is None or time.monotonic() - known.asked_at > STALE_S:
                raise
            _log.warning("api_key_not_renewed", api_key_id=known.claims.session_id)
            return known.claims

    async def _fetch(self, text: str) -> AccessClaims:
        asked_at = time.monotonic()
        try:
            claims = await self._ask(text)
        except UnauthenticatedError:
            self._known.pop(text, None)
            raise
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[text] = _Known(claims, asked_at)
        return claims

    def _done(self, text: str, task: "asyncio.Task[AccessClaims]") -> None:
        self._asking.pop(text, None)
        if not task.cancelled():
            # Seen here, so that nobody complains when all who waited have left.
            task.exception()
