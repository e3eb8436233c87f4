"""What it takes to run an execution again from where it failed. The engine takes over what was completed (`engine/reuse.py`)."""

from mesh import jsontext
from services.execution.creation import Wanted, request_hash
from services.execution.errors import execution_not_ended, nothing_to_retry
from services.execution.history import ENDED
from services.execution.repository.executions import Record


def retry_of(record: Record, *, request_id: str, is_dry: bool) -> Wanted:
    """The execution that does again what an ended one could not. What a dry run completed was not real, so its retry is dry as well.

    Raises FailedPreconditionError (EXECUTION_NOT_ENDED, NOTHING_TO_RETRY).
    """
    if record.status not in ENDED:
        raise execution_not_ended(record.id)
    if record.status == "COMPLETED" and not _has_unfinished(record.stats):
        raise nothing_to_retry(record.id)
    dry_run = is_dry or record.dry_run
    return Wanted(
        owner_id=record.owner_id,
        graph_id=record.graph_id,
        graph_version=record.graph_version,
        inputs=record.inputs,
        input_masks=record.input_masks,
        dry_run=dry_run,
        request_id=request_id,
        request_hash=request_hash("retry", record.id, str(dry_run)) if request_id else "",
        timezone=record.timezone,
        retry_of=record.id,
        graph_revision=record.graph_revision,
    )


def _has_unfinished(stats: str) -> bool:
    """Whether firings failed, or still wait for values."""
    counts = jsontext.loads(stats)
    return bool(counts.get("node_error_count") or counts.get("node_incomplete_count"))
