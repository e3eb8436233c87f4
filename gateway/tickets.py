"""Single-use tickets for browsers, which cannot set headers on a WebSocket.

A ticket stands for the access token of the one who asked for it. The cache keeps the token encrypted by the ticket itself, under the
ticket's digest: who reads the cache finds neither.
"""

import base64
import hashlib
import secrets

import redis.asyncio as redis
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.exceptions import RedisError

from mesh.errors import UnauthenticatedError, UnavailableError

LIFE_S = 30
_TICKET_BYTES = 32
_MAX_TICKET_CHARS = 100
# Each ticket is a key of its own, used once, so a constant nonce repeats nothing.
_NONCE = bytes(12)


class Tickets:
    """Gives out and takes in tickets. Raises UNAVAILABLE while the cache is away."""

    def __init__(self, cache: "redis.Redis") -> None:
        """`cache` decodes its answers."""
        self._cache = cache

    async def issue(self, token: str) -> str:
        """A ticket for the token, good for 30 s and one use."""
        ticket = secrets.token_urlsafe(_TICKET_BYTES)
        try:
            await self._cache.set(_name(ticket), _close(ticket, token), ex=LIFE_S)
        except (RedisError, OSError) as error:
            raise _away() from error
        return ticket

    async def redeem(self, ticket: str) -> str:
        """The token that the ticket stands for; the ticket ends. Raises UNAUTHENTICATED (TICKET_INVALID)."""
        if not ticket or len(ticket) > _MAX_TICKET_CHARS:
            raise _invalid()
        try:
            closed = await self._cache.getdel(_name(ticket))
        except (RedisError, OSError) as error:
            raise _away() from error
        if not closed:
            raise _invalid()
        return _open(ticket, str(closed))


def _name(ticket: str) -> str:
    return f"ws-ticket:{hashlib.sha256(b'name:' + ticket.encode()).hexdigest()}"


def _cipher(ticket: str) -> AESGCM:
    return AESGCM(hashlib.sha256(b"key:" + ticket.encode()).digest())


def _close(ticket: str, token: str) -> str:
    return base64.b64encode(_cipher(ticket).encrypt(_NONCE, token.encode(), None)).decode()


def _open(ticket: str, closed: str) -> str:
    try:
        return _cipher(ticket).decrypt(_NONCE, base64.b64decode(closed), None).decode()
    except (InvalidTag, ValueError):
        raise _invalid() from None


def _invalid() -> UnauthenticatedError:
    return UnauthenticatedError("The ticket is unknown, used or expired; get a new one.", reason="TICKET_INVALID")


def _away() -> UnavailableError:
    return UnavailableError("Tickets are not available at the moment.", reason="CACHE_UNAVAILABLE", retry_after_s=1.0)
