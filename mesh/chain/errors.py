"""The one place where what handlers raise becomes what callers see."""

import asyncio
from uuid import uuid4

from mesh.call import Call
from mesh.chain.element import Leave, is_own_cancellation
from mesh.chain.faults import translate
from mesh.errors import InternalError, TreadleError
from mesh.logs import get_logger

# The only words about an unexpected exception that leave the process.
MASKED = "Something went wrong on our side. The error id helps us to find out what."

_log = get_logger("mesh.chain")


class Errors:
    """Lets typed errors through, names the faults of dependencies, and masks everything else.

    An unexpected exception is logged with its traceback under an id; the caller gets the id and a fixed sentence, never the text.
    Cancellation of the call passes through; a CancelledError that nobody asked for is masked: it would leave the caller without an answer.
    """

    name = "errors"

    async def enter(self, call: Call) -> Leave | None:
        """Never refuses."""

        def leave(error: BaseException | None) -> BaseException | None:
            if error is None or isinstance(error, TreadleError) or is_own_cancellation(error):
                return error
            # What is no Exception ends the process (KeyboardInterrupt, SystemExit): not ours to answer.
            return mapped(call, error) if isinstance(error, (Exception, asyncio.CancelledError)) else error

        return leave


def mapped(call: Call, error: BaseException) -> TreadleError:
    """The error to show for what is not a TreadleError; logs it."""
    known = translate(error)
    if known is not None:
        _log.warning("dependency_fault", method=call.method.full_name, reason=known.reason, fault=type(error).__name__)
        return known
    error_id = uuid4().hex
    _log.error("call_failed", method=call.method.full_name, error_id=error_id, exc_info=error)
    return InternalError(MASKED, metadata={"error_id": error_id})
