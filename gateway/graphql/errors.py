"""Errors of GraphQL in our error model: `message`, and in `extensions` the `code` and the `details` that REST and gRPC give."""

from collections.abc import Sequence
from typing import Any

import orjson
from graphql import GraphQLError

from gateway.graphql.frames import INVALID
from mesh.chain.errors import MASKED
from mesh.chain.faults import translate
from mesh.errors import InternalError, InvalidArgumentError, TreadleError
from mesh.ids import uuid7
from mesh.logs import get_logger
from mesh.status import to_json

_log = get_logger("gateway.graphql")


def put_in_our_words(errors: Sequence[GraphQLError]) -> None:
    """Gives each error its code and details; the words of what is no error of ours go to the log only."""
    known: dict[int, tuple[str, dict[str, Any]]] = {}
    for error in errors:
        cause = error.original_error
        # Many rows may have failed for the same reason.
        if cause is not None and id(cause) in known:
            error.message, error.extensions = known[id(cause)]
            continue
        if cause is None:
            ours: TreadleError = InvalidArgumentError(error.message, reason=INVALID)
        elif isinstance(cause, GraphQLError):
            ours = InvalidArgumentError(cause.message, reason=INVALID)
        elif error.path is None and isinstance(cause, ValueError):
            # Nothing has run yet: a literal that Python cannot take, such as a number of 5,000 digits.
            ours = InvalidArgumentError("The request holds a value that is out of all bounds.", reason=INVALID)
        else:
            ours = cause if isinstance(cause, TreadleError) else translate(cause) or _masked(error, cause)
        error.message = ours.message
        error.extensions = {name: value for name, value in orjson.loads(to_json(ours)).items() if name != "message"}
        if cause is not None:
            known[id(cause)] = error.message, error.extensions


def _masked(error: GraphQLError, cause: BaseException) -> TreadleError:
    error_id = uuid7()
    _log.error("graphql_failed", path=error.path, error_id=error_id, exc_info=cause)
    return InternalError(MASKED, metadata={"error_id": error_id})
