"""The locks by which others see that a worker lives (`worker/liveness.py`), and how statements ask for them."""

from services.execution.worker_ids import CELL_MARK

# First key of the locks: a number that nobody else takes. The second is the hash of the worker's id. Two workers with the same hash keep
# each other's runs until their leases run out, no more.
_CLASS = 0x7472
_LOCKS = f"""
    SELECT objid::bigint FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE locktype = 'advisory' AND classid = {_CLASS} AND objsubid = 2 AND granted AND datname = current_database()
"""  # noqa: S608 - a constant

# Of the worker $1, for as long as the connection lasts.
LOCK = f"SELECT pg_advisory_lock_shared({_CLASS}, hashtext($1))"
# The parent of the cell whose id an expression gives; the id itself for an ordinary worker.
PARENT_OF = f"split_part({{}}, '{CELL_MARK}', 1)"


def has_lock(worker_id: str) -> str:
    """SQL that is true when the worker whose id an SQL expression gives holds its lock. It reads all locks once per statement."""
    return f"((hashtext({worker_id})::bigint & 4294967295) IN ({_LOCKS}))"
