"""What can go wrong with executions, as callers see it."""

from collections.abc import Sequence

import asyncpg

from mesh.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, UnavailableError, Violation

# Losing the database, and everything that says "not now": the caller may repeat the call.
DATABASE_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # A pooled connection was used in the moment between the server's last words and the end of the socket.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.DeadlockDetectedError,
)

_RETRY_AFTER_S = 1.0


def execution_not_found(execution_id: str) -> NotFoundError:
    """No such execution, or not the caller's."""
    return NotFoundError("There is no such execution.", reason="EXECUTION_NOT_FOUND", metadata={"execution_id": execution_id[:100]})


def value_not_found(sha256: str) -> NotFoundError:
    """No event of the execution refers to such a value."""
    return NotFoundError("There is no such value.", reason="VALUE_NOT_FOUND", metadata={"sha256": sha256})


def node_not_found(node_id: str) -> NotFoundError:
    """The graph has no such node."""
    return NotFoundError("The graph has no such node.", reason="NODE_NOT_FOUND", metadata={"node_id": node_id})


def review_not_found(node_execution_ids: Sequence[str]) -> NotFoundError:
    """These firings never asked a person."""
    return NotFoundError(
        "There is no such review.", reason="REVIEW_NOT_FOUND", metadata={"node_execution_ids": ",".join(node_execution_ids)[:1000]}
    )


def review_invalid(violations: Sequence[Violation]) -> InvalidArgumentError:
    """Decisions that their reviews do not take."""
    return InvalidArgumentError("The reviews cannot be decided so.", reason="REVIEW_INVALID", violations=violations)


def review_decided(node_execution_ids: Sequence[str]) -> FailedPreconditionError:
    """These reviews were decided otherwise."""
    return FailedPreconditionError(
        "A review was decided otherwise before.",
        reason="REVIEW_DECIDED",
        metadata={"node_execution_ids": ",".join(node_execution_ids)[:1000]},
    )


def execution_ended(execution_id: str) -> FailedPreconditionError:
    """Nothing waits in it any more."""
    return FailedPreconditionError("The execution has ended.", reason="EXECUTION_ENDED", metadata={"execution_id": execution_id})


def execution_not_ended(execution_id: str) -> FailedPreconditionError:
    """It may still succeed by itself."""
    return FailedPreconditionError("The execution has not ended.", reason="EXECUTION_NOT_ENDED", metadata={"execution_id": execution_id})


def nothing_to_retry(execution_id: str) -> FailedPreconditionError:
    """It did all it could."""
    return FailedPreconditionError(
        "Nothing failed in the execution, and nothing was left waiting.", reason="NOTHING_TO_RETRY", metadata={"execution_id": execution_id}
    )


def graph_invalid(violations: Sequence[Violation]) -> InvalidArgumentError:
    """The graph version cannot run."""
    return InvalidArgumentError("The graph cannot run.", reason="GRAPH_INVALID", violations=violations)


def input_invalid(violations: Sequence[Violation]) -> InvalidArgumentError:
    """The inputs or masks do not fit the graph."""
    return InvalidArgumentError("The inputs do not fit the graph.", reason="INPUT_INVALID", violations=violations)


def database_away() -> UnavailableError:
    """PostgreSQL cannot be reached now."""
    return UnavailableError("The database is away for a moment.", reason="DATABASE_UNAVAILABLE", retry_after_s=_RETRY_AFTER_S)
