"""One call to a method, the same for both doors."""

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from google.protobuf.message import Message

from mesh.contract import Method
from mesh.errors import TreadleError

# The edge appends the address of its client here; what stands before it anyone may have made up.
FORWARDED_FOR = "x-forwarded-for"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `user_id` is empty for anonymous and for service-only calls; `workload` is "edge" for clients outside the mesh.

    `actor_id` is set when an administrator acts for the user: it is the administrator's id.
    """

    user_id: str = ""
    email: str = ""
    scopes: frozenset[str] = frozenset()
    workload: str = "edge"
    # The bearer token as it came, to forward on calls made for the same user.
    bearer: str = ""
    actor_id: str = ""
    # The sign-in or the API key that the bearer token belongs to.
    session_id: str = ""


ANONYMOUS = Caller()


def _never(_: str) -> bool:
    return False


@dataclass(slots=True)
class Call:
    """What a handler may know about a call beside its message. `deadline` is on `time.monotonic()`; the call ends with `late` then, or with
    DEADLINE_EXCEEDED when that is not set.
    """

    method: Method
    metadata: Mapping[str, str]
    deadline: float
    request_id: str = ""
    caller: Caller = ANONYMOUS
    late: TreadleError | None = None
    # The message, once it has been read, and what a unary handler answered.
    request: Message | None = None
    response: Message | None = None
    # What the call turned out to be about, where its messages do not say it; for the audit log (see `note_about`).
    about: Mapping[str, str] | None = None
    # Headers for the response, such as `etag`; both doors send them (over gRPC as trailing metadata, of streams as initial ones).
    response_headers: dict[str, str] = field(default_factory=dict)
    # Whether the answer with this entity tag, which must be in `response_headers` then, is at hand already: what the handler returns does
    # not count then, so it need not be made.
    has_answer: Callable[[str], bool] = _never

    @property
    def source_address(self) -> str:
        """Network address of the client, as the edge saw it; empty for calls that came past the edge."""
        return self.metadata.get(FORWARDED_FOR, "").rpartition(",")[2].strip()

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return self.deadline - time.monotonic()


# The call being served, for logs and for outgoing calls.
current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)


def note_about(**facts: str) -> None:
    """Tells the audit log whom or what the call being served is about: where its messages do not say it, or the client must not know."""
    call = current_call.get()
    if call is not None:
        call.about = {**(call.about or {}), **facts}
