"""Work in progress is bounded; what is too much is refused at once, with a hint when to come back."""

from mesh.call import Call
from mesh.chain.element import Leave
from mesh.errors import ResourceExhaustedError

RETRY_AFTER_S = 0.5


class Admission:
    """Bounds the calls at work in this process. Streams are counted apart: they mostly wait, and must not starve short calls."""

    name = "admission"

    def __init__(self, max_calls: int, max_streams: int) -> None:
        """Limits of unary calls and of streams at the same time."""
        self._max_calls = max_calls
        self._max_streams = max_streams
        self.calls = 0
        self.streams = 0

    async def enter(self, call: Call) -> Leave | None:
        """Raises ResourceExhaustedError (OVERLOADED) beyond the limit."""
        if call.method.is_server_streaming:
            if self.streams >= self._max_streams:
                raise _overloaded("max_concurrent_streams")
            self.streams += 1
            return self._leave_stream
        if self.calls >= self._max_calls:
            raise _overloaded("max_concurrent_calls")
        self.calls += 1
        return self._leave_call

    def _leave_call(self, error: BaseException | None) -> BaseException | None:
        self.calls -= 1
        return error

    def _leave_stream(self, error: BaseException | None) -> BaseException | None:
        self.streams -= 1
        return error


def _overloaded(limit: str) -> ResourceExhaustedError:
    message = "Too many calls at the same time. Try again shortly."
    return ResourceExhaustedError(message, reason="OVERLOADED", metadata={"limit": limit}, retry_after_s=RETRY_AFTER_S)
