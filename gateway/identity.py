"""Who is at the other end of a socket or of a request to the gateway itself."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from mesh.call import Caller
from mesh.errors import PermissionDeniedError, UnauthenticatedError
from mesh.identity.bearer import Bearers

# What following executions takes.
WATCH_SCOPE = "executions:read"
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who proved who they are. `expires_at` is when that proof ends, in seconds since the epoch; `ended` returns when it is
    revoked before.
    """

    caller: Caller
    expires_at: float
    ended: Callable[[], Awaitable[None]]


async def identify(verifier: Bearers, token: str) -> Visitor:
    """Whose token this is. Raises UNAUTHENTICATED."""
    if not token:
        raise UnauthenticatedError("An access token is needed.", reason="TOKEN_MISSING")
    claims = await verifier.verify(token)
    # The gateway calls services as itself, for this user.
    caller = Caller(claims.user_id, claims.email, claims.scopes, "gateway", token, session_id=claims.session_id)
    return Visitor(caller, claims.expires_at, partial(verifier.ended, claims.session_id))


async def identify_watcher(verifier: Bearers, token: str) -> Visitor:
    """The same; raises PERMISSION_DENIED when the token does not grant `executions:read`."""
    visitor = await identify(verifier, token)
    if WATCH_SCOPE not in visitor.caller.scopes:
        raise PermissionDeniedError(
            f"The access token does not grant: {WATCH_SCOPE}.", reason="SCOPE_MISSING", metadata={"scopes": WATCH_SCOPE}
        )
    return visitor


def bearer_of(authorization: str) -> str:
    """The token of an Authorization header; empty when there is no header. Raises UNAUTHENTICATED for another scheme."""
    if not authorization:
        return ""
    if authorization[: len(_BEARER)].lower() != _BEARER:
        raise UnauthenticatedError("Authorization must be a bearer token.", reason="TOKEN_INVALID")
    return authorization[len(_BEARER) :].strip()
