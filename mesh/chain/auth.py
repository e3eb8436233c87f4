"""Who calls, and whether they may: both read from the method's contract."""

import time
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from mesh.call import Call, Caller
from mesh.chain.element import Leave
from mesh.contract import Method
from mesh.errors import InvalidArgumentError, PermissionDeniedError, UnauthenticatedError
from mesh.identity.access_token import AccessClaims, token_expired
from mesh.identity.service_token import HEADER as SERVICE_TOKEN

AUTHORIZATION = "authorization"
# The workload of callers without a service token: clients outside of the mesh.
EDGE = "edge"
# Names the user that an administrator acts for, and the scope that this takes.
ON_BEHALF_OF = "x-treadle-on-behalf-of"
IMPERSONATE_SCOPE = "admin:impersonate"
# What only the person themselves may do: a key or a link made for them would let the administrator go on unseen.
PERSONAL_SCOPE = "accounts:write"

_BEARER = "bearer "


class VerifiesUsers(Protocol):
    """Knows whose an access token is."""

    async def verify(self, token: str) -> AccessClaims:
        """Raises UnauthenticatedError."""


class VerifiesServices(Protocol):
    """Knows which workload a service token names."""

    def verify(self, token: str) -> str:
        """Raises UnauthenticatedError."""


class Auth:
    """Sets `call.caller`. The workload must be one that the method lists; unless the method is public, so must be the user's scopes.

    A workload of the mesh may call what lists it without a user: it acts for itself. An administrator may act for a user, where that is
    recorded.
    """

    name = "auth"

    def __init__(self, users: VerifiesUsers, services: VerifiesServices, *, is_recorded: bool = False) -> None:
        """`users` verifies bearer tokens, `services` those between services. `is_recorded`: the chain writes down who acts for whom."""
        self._users = users
        self._services = services
        self._is_recorded = is_recorded

    async def enter(self, call: Call) -> Leave | None:
        """Raises UnauthenticatedError or PermissionDeniedError."""
        method = call.method
        service_token = call.metadata.get(SERVICE_TOKEN, "")
        workload = self._services.verify(service_token) if service_token else EDGE
        if not method.is_open_to(workload):
            call.caller = Caller(workload=workload)
            raise _denied("This method is not open to you.", "CALLER_NOT_ALLOWED", method, workload=workload)
        bearer = _bearer(call.metadata.get(AUTHORIZATION, ""))
        if method.is_public:
            # A token is no business of a public method, and a bad one no reason to refuse: this is how one gets a good one.
            call.caller = Caller(workload=workload, bearer=bearer)
        elif bearer:
            caller = await self._user(call, workload, bearer)
            user_id = call.metadata.get(ON_BEHALF_OF, "")
            if user_id:
                call.caller = self._on_behalf(caller, user_id, method)
        elif workload == EDGE:
            raise UnauthenticatedError("An access token is needed.", reason="TOKEN_MISSING")
        else:
            call.caller = Caller(workload=workload)
        return None

    async def _user(self, call: Call, workload: str, bearer: str) -> Caller:
        method, claims = call.method, await self._users.verify(bearer)
        # Said before the verdict: who was refused is worth knowing.
        caller = Caller(claims.user_id, claims.email, claims.scopes, workload, bearer, session_id=claims.session_id)
        call.caller = caller
        missing = method.scopes - claims.scopes
        if missing:
            scopes = " ".join(sorted(missing))
            raise _denied(f"The access token does not grant: {scopes}.", "SCOPE_MISSING", method, scopes=scopes)
        if method.is_server_streaming:
            _end_with_token(call, claims.expires_at)
        return caller

    def _on_behalf(self, actor: Caller, user_id: str, method: Method) -> Caller:
        if IMPERSONATE_SCOPE not in actor.scopes:
            raise _denied("Only an administrator may act for others.", "SCOPE_MISSING", method, scopes=IMPERSONATE_SCOPE)
        if PERSONAL_SCOPE in method.scopes:
            raise _denied("Nobody may do this for others.", "PERSONAL", method, scopes=PERSONAL_SCOPE)
        if not self._is_recorded:
            raise _denied("Acting for others is not recorded here, so it is refused.", "NOT_RECORDED", method)
        if not _is_uuid(user_id):
            raise InvalidArgumentError(f"The header {ON_BEHALF_OF} must hold the id of a user.", reason="USER_ID_INVALID")
        return replace(actor, user_id=user_id, email="", actor_id=actor.user_id)


def _bearer(header: str) -> str:
    """The token of an Authorization header; empty when there is none. Raises UnauthenticatedError for another scheme."""
    if not header:
        return ""
    if header[: len(_BEARER)].lower() != _BEARER:
        raise UnauthenticatedError("Authorization must be a bearer token.", reason="TOKEN_INVALID")
    return header[len(_BEARER) :].strip()


def _end_with_token(call: Call, expires_at: float) -> None:
    """Who could not open a stream any more must not go on reading one."""
    end = time.monotonic() + expires_at - time.time()
    if end < call.deadline:
        call.deadline, call.late = end, token_expired()


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _denied(message: str, reason: str, method: Method, **metadata: str) -> PermissionDeniedError:
    return PermissionDeniedError(message, reason=reason, metadata={"method": method.full_name, **metadata})
