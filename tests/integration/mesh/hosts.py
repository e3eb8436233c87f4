"""Hosts with real doors, and services of few words behind real contracts."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.message import Message
from joserfc import jwt
from joserfc.jwk import ECKey
from pydantic import SecretStr
from treadle.auth.v1.auth_service_pb2 import GetJwksRequest, GetJwksResponse, Jwk, LoginResponse
from treadle.execution.v1.execution_service_pb2 import Event, GetExecutionResponse, WatchExecutionRequest, WatchExecutionResponse
from treadle.user.v1.user_service_pb2 import GetMeResponse, User

from mesh.call import Call
from mesh.contract import methods
from mesh.identity.access_token import AUDIENCE
from mesh.resources import Resources
from mesh.service import Running, Service
from mesh.settings import Settings
from tests.unit.mesh.partial import Partial

# What no client may ever see.
SECRET = "hunter2"
FAULT = f"postgresql://treadle:{SECRET}@db.internal/treadle"
ALL_SCOPES = " ".join(sorted({scope for method in methods().values() for scope in method.scopes}))


class Auth(Partial):
    """Publishes the key it signs with; its Login fails with a secret in the exception."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "test"})

    async def get_jwks(self, _: GetJwksRequest, __: Call) -> GetJwksResponse:
        public = self.key.as_dict(private=False)
        return GetJwksResponse(
            keys=[Jwk(kty="EC", crv="P-256", x=str(public["x"]), y=str(public["y"]), kid="test", alg="ES256", use="sig")]
        )

    async def login(self, _: Message, __: Call) -> LoginResponse:
        raise ValueError(FAULT)

    def token(self, settings: Settings, scope: str = ALL_SCOPES, life_s: float = 60, user_id: str = "u1", **odd: Any) -> str:
        """An access token of a user; `odd` claims take the place of the right ones, None leaves one out."""
        claims = {"iss": settings.issuer, "aud": AUDIENCE, "sub": user_id, "scope": scope, "exp": time.time() + life_s, **odd}
        return jwt.encode({"alg": "ES256", "kid": "test"}, {name: value for name, value in claims.items() if value is not None}, self.key)


class Users(Partial):
    """Answers with who the caller is; holds calls while `gate` is shut."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.calls = 0
        self.fault: Exception | None = None

    async def get_me(self, _: Message, call: Call) -> GetMeResponse:
        self.arrived.set()
        self.calls += 1
        if self.fault is not None:
            raise self.fault
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        call.response_headers["etag"] = '"1"'
        return GetMeResponse(user=User(id=call.caller.user_id, display_name=call.caller.workload))


class Executions(Partial):
    """Streams numbered events: three and an end, or without an end after seq 100. Asks the user service on the caller's behalf."""

    def __init__(self, resources: Resources) -> None:
        self._watched = resources.metrics.counter("treadle_test_watched_total", "Streams that were asked for.")
        self.stream_ended = asyncio.Event()

    async def watch_execution(self, request: WatchExecutionRequest, _: Call) -> AsyncIterator[WatchExecutionResponse]:
        self._watched.inc()
        try:
            for seq in range(request.after_seq + 1, request.after_seq + 4):
                yield WatchExecutionResponse(event=Event(seq=seq))
            if request.after_seq >= 200:
                raise ValueError(FAULT)
            if request.after_seq >= 100:
                await asyncio.Event().wait()
        finally:
            self.stream_ended.set()

    async def get_execution(self, _: Message, __: Call) -> GetExecutionResponse:
        raise AssertionError("not reached by these tests")


class Mesh:
    """The three services, and what tests look into."""

    def __init__(self) -> None:
        self.auth = Auth()
        self.users = Users()
        self.executions: Executions | None = None
        self.is_healthy = True

    def services(self, *needs: str) -> list[Service]:
        """To host in one process."""
        return [
            Service("auth", self._built(lambda _: {"treadle.auth.v1.AuthService": self.auth})),
            Service("user", self._built(lambda _: {"treadle.user.v1.UserService": self.users}), needs=needs),
            Service("execution", self._built(self._execution)),
        ]

    def _execution(self, resources: Resources) -> dict[str, Any]:
        self.executions = Executions(resources)
        return {"treadle.execution.v1.ExecutionService": self.executions}

    def _built(self, servicers: Callable[[Resources], dict[str, Any]]) -> Any:
        @asynccontextmanager
        async def build(resources: Resources) -> AsyncIterator[Running]:
            yield Running(servicers(resources), is_healthy=lambda: self.is_healthy)

        return build


def local_settings(**changes: Any) -> Settings:
    """Settings of a process that needs no servers."""
    defaults: dict[str, Any] = {
        "service_key": SecretStr(base64.b64encode(b"k" * 32).decode()),
        "drain_s": 5.0,
        "log_format": "text",
        "log_level": "error",
    }
    return Settings(**(defaults | changes))
