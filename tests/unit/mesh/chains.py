"""Chains and calls for unit tests, without doors."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from opentelemetry.sdk.trace.export import SpanExporter

from mesh.audit import AuditRecord
from mesh.chain.auth import IMPERSONATE_SCOPE
from mesh.chain.element import Link
from mesh.chain.order import standard_chain
from mesh.contract import Method, methods
from mesh.dispatch import Dispatcher, Read
from mesh.errors import UnauthenticatedError, UnavailableError, Violation
from mesh.identity.access_token import AccessClaims
from mesh.identity.service_token import ServiceTokens
from mesh.metrics import Metrics
from mesh.settings import Settings
from mesh.telemetry import Tracing, make_tracing
from tests.unit.mesh.partial import Partial

SERVICE_KEY = b"k" * 32
USER_SERVICE = "treadle.user.v1.UserService"
EXECUTION_SERVICE = "treadle.execution.v1.ExecutionService"
AUTH_SERVICE = "treadle.auth.v1.AuthService"

GET_ME = methods()[f"/{USER_SERVICE}/GetMe"]
WATCH = methods()[f"/{EXECUTION_SERVICE}/WatchExecution"]
CREATE = methods()[f"/{EXECUTION_SERVICE}/CreateExecution"]
LOGIN = methods()[f"/{AUTH_SERVICE}/Login"]
GET_JWKS = methods()[f"/{AUTH_SERVICE}/GetJwks"]

ALL_SCOPES = frozenset(scope for method in methods().values() for scope in method.scopes)


class KnownUsers:
    """Verifies tokens by a table: a token is the name of its claims."""

    def __init__(self, **claims: AccessClaims) -> None:
        self._claims = claims

    async def verify(self, token: str) -> AccessClaims:
        """Raises UnauthenticatedError for a token that is not in the table."""
        if token not in self._claims:
            raise UnauthenticatedError("No.", reason="TOKEN_INVALID")
        return self._claims[token]


def claims(*scopes: str, user_id: str = "u1") -> AccessClaims:
    """Claims with these scopes."""
    return AccessClaims(user_id, f"{user_id}@example.com", frozenset(scopes), float("inf"))


def nothing_wrong(_: Message) -> Sequence[Violation]:
    """Finds every message valid."""
    return ()


class KeptRecords:
    """Keeps audit records; writes none while `is_away`."""

    def __init__(self) -> None:
        self.added: list[AuditRecord] = []
        self.written: list[AuditRecord] = []
        self.is_away = False

    def add(self, record: AuditRecord) -> None:
        """Keeps it."""
        self.added.append(record)

    async def write(self, record: AuditRecord) -> None:
        """Keeps it, or raises UnavailableError."""
        if self.is_away:
            raise UnavailableError("Away.", reason="AUDIT_UNAVAILABLE")
        self.written.append(record)


def chain(
    metrics: Metrics | None = None, exporter: SpanExporter | None = None, records: KeptRecords | None = None, **limits: Any
) -> list[Link]:
    """The standard chain; `good` is a token with all scopes."""
    settings = Settings(trace_sample_ratio=1.0, **limits)
    tracing = make_tracing(settings, "test", exporter) if exporter is not None else Tracing(0.0, None)
    return standard_chain(
        settings,
        metrics=metrics or Metrics(),
        tracing=tracing,
        users=KnownUsers(good=claims(*ALL_SCOPES, IMPERSONATE_SCOPE), poor=claims("nothing:read")),
        services=ServiceTokens(SERVICE_KEY),
        records=records or KeptRecords(),
        violations=nothing_wrong,
    )


class Handlers(Partial):
    """A servicer made of the functions given."""

    def __init__(self, **handlers: Any) -> None:
        self.__dict__.update(handlers)


def given(message: Message) -> Read:
    """A reader of a message that is there already."""

    async def read() -> Message:
        return message

    return read


async def unary(
    method: Method,
    handler: Any,
    metadata: Mapping[str, str] | None = None,
    elements: Sequence[Link] | None = None,
) -> Message:
    """Runs a call of an empty request through the chain into `handler`."""
    dispatcher = Dispatcher({method.service: Handlers(**{method.handler: handler})}, chain() if elements is None else elements)
    return await dispatcher.unary(dispatcher.new_call(method, metadata or {}), given(method.request_type()))
