"""The order of the chain, outermost first, and the reason for each place."""

from collections.abc import Callable, Sequence

from google.protobuf.message import Message

from mesh.audit import TakesRecords
from mesh.chain.access_log import AccessLog
from mesh.chain.admission import Admission
from mesh.chain.audit import Audit, Witness
from mesh.chain.auth import Auth, VerifiesServices, VerifiesUsers
from mesh.chain.deadline import Deadline
from mesh.chain.element import Link
from mesh.chain.errors import Errors
from mesh.chain.idempotency import Idempotency
from mesh.chain.request_id import RequestId
from mesh.chain.telemetry import Telemetry
from mesh.chain.validate import Validate
from mesh.errors import Violation
from mesh.metrics import Metrics
from mesh.settings import Settings
from mesh.telemetry import Tracing

ORDER = (
    "request_id",  # everything after can log it
    "errors",  # nothing unmapped escapes
    "telemetry",  # sees the final code; outside of auth, so that refusals count
    "access_log",  # likewise
    "audit",  # outside of auth, so that refusals are recorded
    "deadline",  # what nobody waits for costs nothing more
    "auth",  # who is it
    "witness",  # writes down who acts for whom, before anything is done
    "admission",  # after auth, so that the tenant is known
    # Only now the message is read: strangers cost nothing, and the slow and the malformed are counted and logged.
    "validate",  # what the contract demands
    "idempotency",  # looks into a message that is known to be well-formed
)


def standard_chain(
    settings: Settings,
    *,
    metrics: Metrics,
    tracing: Tracing,
    users: VerifiesUsers,
    services: VerifiesServices,
    records: TakesRecords,
    violations: Callable[[Message], Sequence[Violation]],
) -> list[Link]:
    """The chain of every process. `records` takes what is to be remembered of calls."""
    return [
        RequestId(),
        Errors(),
        Telemetry(metrics, tracing),
        AccessLog(),
        Audit(records),
        Deadline(),
        Auth(users, services, is_recorded=True),
        Witness(records),
        Admission(settings.max_concurrent_calls, settings.max_concurrent_streams),
        Validate(violations),
        Idempotency(),
    ]
