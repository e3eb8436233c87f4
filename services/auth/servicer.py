"""treadle.auth.v1.AuthService: from messages to the domain and back."""

from typing import Any

from treadle.auth.v1.auth_service_pb2 import (
    AuthenticatedUser,
    GetJwksRequest,
    GetJwksResponse,
    Jwk,
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    RefreshRequest,
    RefreshResponse,
    RegisterRequest,
    RegisterResponse,
)

from mesh.call import Call
from services.auth.account import Client
from services.auth.keys import KeyRing
from services.auth.sign_in import Session, SignIn


class AuthServicer:
    """The handlers of AuthService."""

    def __init__(self, sign_in: SignIn, ring: KeyRing) -> None:
        self._sign_in = sign_in
        self._ring = ring

    async def register(self, request: RegisterRequest, call: Call) -> RegisterResponse:
        """Creates an account and signs it in."""
        session = await self._sign_in.register(request.email, request.password, request.display_name, client_of(call))
        return RegisterResponse(**_fields(session))

    async def login(self, request: LoginRequest, call: Call) -> LoginResponse:
        """Signs in with a password."""
        session = await self._sign_in.login(request.email, request.password, client_of(call))
        return LoginResponse(**_fields(session))

    async def refresh(self, request: RefreshRequest, call: Call) -> RefreshResponse:
        """Trades a refresh token."""
        session = await self._sign_in.refresh(request.refresh_token, client_of(call))
        return RefreshResponse(**_fields(session))

    async def logout(self, request: LogoutRequest, call: Call) -> LogoutResponse:
        """Signs out."""
        await self._sign_in.logout(request.refresh_token)
        return LogoutResponse()

    async def get_jwks(self, request: GetJwksRequest, call: Call) -> GetJwksResponse:
        """The public keys."""
        return GetJwksResponse(keys=[Jwk(**key.public_jwk) for key in self._ring.keys])


def client_of(call: Call) -> Client:
    """From where and with what the call came."""
    return Client.of(call.source_address, call.metadata.get("user-agent", ""))


def _fields(session: Session) -> dict[str, Any]:
    account = session.account
    return {
        "user": AuthenticatedUser(id=account.id, email=account.email, display_name=account.display_name),
        "access_token": session.access_token,
        "refresh_token": session.refresh_token,
        "expires_in": session.expires_in_s,
    }
