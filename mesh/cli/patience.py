"""When a stream that broke is opened anew."""

import time

# How long a stream may stay broken; a restart of a process takes a few seconds.
PATIENCE_S = 60.0
PAUSE_S = 0.3
# A stream that ended with its token after less than this did not end for that reason alone.
LEAST_LIFE_S = 5.0
# The reason with which streams end that outlive their token.
TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105


class Patience:
    """Of one reader who goes on where the last stream ended."""

    def __init__(self) -> None:
        self._opened = 0.0
        self._broken_since = 0.0

    def opens(self) -> None:
        """A stream is opened."""
        self._opened = time.monotonic()

    def hears(self) -> None:
        """Something came."""
        self._broken_since = 0.0

    def tries_again(self, *, reason: str, is_passing: bool) -> bool:
        """Whether to open another stream after one failed; waits a moment first. `is_passing`: it may work a little later."""
        now = time.monotonic()
        if reason == TOKEN_EXPIRED and now - self._opened > LEAST_LIFE_S:
            # Each stream ends with the token it was opened with; the next call has a new one.
            self._broken_since = 0.0
            return True
        self._broken_since = self._broken_since or now
        if now - self._broken_since > PATIENCE_S or not (is_passing or reason == TOKEN_EXPIRED):
            return False
        time.sleep(PAUSE_S)
        return True
