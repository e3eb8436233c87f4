"""Who calls, and whether they may: both read from the method's contract."""

from typing import Protocol

from mesh.call import Call, Caller
from mesh.chain.element import Leave
from mesh.contract import Method
from mesh.errors import PermissionDeniedError, UnauthenticatedError
from mesh.identity.access_token import AccessClaims
from mesh.identity.service_token import HEADER as SERVICE_TOKEN

AUTHORIZATION = "authorization"
# The workload of callers without a service token: clients outside of the mesh.
EDGE = "edge"

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

    A workload of the mesh may call what lists it without a user: it acts for itself.
    """

    name = "auth"

    def __init__(self, users: VerifiesUsers, services: VerifiesServices) -> None:
        """`users` verifies bearer tokens, `services` those between services."""
        self._users = users
        self._services = services

    async def enter(self, call: Call) -> Leave | None:
        """Raises UnauthenticatedError or PermissionDeniedError."""
        method = call.method
        service_token = call.metadata.get(SERVICE_TOKEN, "")
        workload = self._services.verify(service_token) if service_token else EDGE
        if workload not in method.callers:
            raise _denied("This method is not open to you.", "CALLER_NOT_ALLOWED", method, workload=workload)
        bearer = _bearer(call.metadata.get(AUTHORIZATION, ""))
        if method.is_public:
            # A token is no business of a public method, and a bad one no reason to refuse: this is how one gets a good one.
            call.caller = Caller(workload=workload, bearer=bearer)
        elif bearer:
            call.caller = await self._user(method, workload, bearer)
        elif workload == EDGE:
            raise UnauthenticatedError("An access token is needed.", reason="TOKEN_MISSING")
        else:
            call.caller = Caller(workload=workload)
        return None

    async def _user(self, method: Method, workload: str, bearer: str) -> Caller:
        claims = await self._users.verify(bearer)
        missing = method.scopes - claims.scopes
        if missing:
            scopes = " ".join(sorted(missing))
            raise _denied(f"The access token does not grant: {scopes}.", "SCOPE_MISSING", method, scopes=scopes)
        return Caller(claims.user_id, claims.email, claims.scopes, workload, bearer)


def _bearer(header: str) -> str:
    """The token of an Authorization header; empty when there is none. Raises UnauthenticatedError for another scheme."""
    if not header:
        return ""
    if header[: len(_BEARER)].lower() != _BEARER:
        raise UnauthenticatedError("Authorization must be a bearer token.", reason="TOKEN_INVALID")
    return header[len(_BEARER) :].strip()


def _denied(message: str, reason: str, method: Method, **metadata: str) -> PermissionDeniedError:
    return PermissionDeniedError(message, reason=reason, metadata={"method": method.full_name, **metadata})
