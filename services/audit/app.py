"""Assembly of the audit service."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from mesh.audit import AuditRecord
from mesh.consumer import Reader, consuming
from mesh.logs import get_logger
from mesh.resources import Resources
from mesh.retention import forgetting
from mesh.service import Running, Service
from mesh.streams import AUDIT, AUDIT_RECORDS
from services.audit.personal_data import AuditData
from services.audit.repository import Repository
from services.audit.servicer import AuditServicer

_READER = Reader(AUDIT, AUDIT_RECORDS, "audit-log")
_SERVICE = "treadle.audit.v1.AuditService"

_log = get_logger("audit")


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Serves AuditService, and keeps what the processes of the mesh report."""
    repository = Repository((await resources.database("audit")).pool)

    kept = resources.metrics.counter("treadle_audit_kept_total", "Audit records that are in the log")

    async def keep(_: str, body: bytes) -> None:
        bodies = body.decode().split("\n")
        head = await repository.append(bodies)
        kept.inc(len(bodies))
        # Also outside of the database there is a trace of what the log was.
        _log.info("audit_head", seq=head.seq, hash=head.hash)

    async def forget(horizon: dt.datetime) -> int:
        return await repository.forget_before(horizon, _forgot)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(consuming(resources, _READER, keep))
        await stack.enter_async_context(forgetting("audit records", resources.settings.retention_audit_days, forget))
        yield Running(servicers={_SERVICE: AuditServicer(repository)}, personal_data=AuditData(repository))


def _forgot(seq: int) -> str:
    """That the log begins later now is in the log."""
    resources = {"last_seq": str(seq)}
    return AuditRecord("", "", "", "audit", _SERVICE, "ForgetOldRecords", resources, "OK", "", "", "").line().decode()


SERVICE = Service("audit", build, migrations="services.audit.migrations", needs=("postgres",))
