"""The answers that a method may give over REST besides its good one, from its contract alone.

Three sources: what the edge and the chain may say to any call, what follows from the form of the route, and the sentence `Errors: …` in
the comment of the method, such as `Errors: NOT_FOUND (GRAPH_NOT_FOUND), UNAVAILABLE with RetryInfo.`
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mesh.contract import HttpRule, Method
from mesh.errors import (
    HTTP_STATUS,
    AlreadyExistsError,
    Code,
    DeadlineExceededError,
    EtagMismatchError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    TreadleError,
    UnauthenticatedError,
    UnavailableError,
    Violation,
)
from mesh.http.errors import REQUEST_INVALID, BodyTooLargeError, MediaTypeError, http_status
from mesh.http.routes import variables_of
from mesh.limits import MAX_MESSAGE_BYTES

_SENTENCE = re.compile(r"Errors: (.+)")
_PART = re.compile(r"([A-Z][A-Z_]+)(?: \(([^()]*)\))?")


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer that is no success: its name among the components, what it means, and one such error."""

    name: str
    meaning: str
    error: TreadleError
    # What the edge says instead of the status of the error.
    own_status: int = 0

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.own_status or http_status(self.error)


OUTCOMES = (
    Outcome(
        "Invalid",
        "The request does not fit the contract, or is not well-formed. `BadRequest` names the fields.",
        InvalidArgumentError(
            "name: is required", reason=REQUEST_INVALID, violations=[Violation("name", "is required, and must not be empty")]
        ),
    ),
    Outcome(
        "Unauthenticated",
        "The access token or API key is missing, expired or not valid.",
        UnauthenticatedError("The access token has expired.", reason="TOKEN_EXPIRED"),
    ),
    Outcome(
        "Forbidden",
        "The credentials do not grant what the method needs, or the caller's address is not let in.",
        PermissionDeniedError("The access token does not grant: graphs:write.", reason="SCOPE_MISSING"),
    ),
    Outcome(
        "NotFound",
        "There is no such resource, or it is another owner's.",
        NotFoundError("There is no graph 0.", reason="GRAPH_NOT_FOUND", metadata={"graph_id": "0"}),
    ),
    Outcome(
        "Conflict",
        "The call collides with what is there, or with a concurrent call.",
        AlreadyExistsError("An account with this e-mail address exists.", reason="EMAIL_TAKEN"),
    ),
    Outcome(
        "PreconditionFailed",
        "The resource is no longer the one of `If-Match`: read it again.",
        EtagMismatchError("The graph has changed since it was read."),
    ),
    Outcome(
        "Late",
        "The request did not arrive in time.",
        DeadlineExceededError("The request did not arrive in time.", reason="REQUEST_TIMEOUT"),
        own_status=408,
    ),
    Outcome("TooLarge", "The body is too large.", BodyTooLargeError(MAX_MESSAGE_BYTES)),
    Outcome("MediaType", "The body is not JSON in UTF-8.", MediaTypeError("The body must be JSON in UTF-8.")),
    Outcome(
        "RateLimited",
        "Too many calls, or too many at the same time; `Retry-After` says when to try again.",
        ResourceExhaustedError("Too many requests. Try again shortly.", reason="RATE_LIMITED"),
    ),
    Outcome(
        "HeadersTooLarge",
        "The headers are too large or too many.",
        InvalidArgumentError("The headers are too large.", reason="HEADERS_TOO_LARGE"),
        own_status=431,
    ),
    Outcome(
        "Internal",
        "A fault of ours; the error id leads to the log.",
        InternalError("Something went wrong on our side.", metadata={"error_id": "0190a1b2-0000-7000-8000-000000000000"}),
    ),
    Outcome(
        "Unavailable",
        "A dependency is away for now; `Retry-After` says when to try again.",
        UnavailableError("The service is away.", reason="UPSTREAM_UNAVAILABLE"),
    ),
    Outcome(
        "DeadlineExceeded",
        "The work was not done within the deadline.",
        DeadlineExceededError("The service did not answer in time.", reason="UPSTREAM_TIMEOUT"),
    ),
)
BY_STATUS: Mapping[int, Outcome] = {outcome.status: outcome for outcome in OUTCOMES}

# What the edge and the chain may say to any call.
_ALWAYS = ("Invalid", "Forbidden", "Late", "RateLimited", "HeadersTooLarge", "Internal", "Unavailable", "DeadlineExceeded")


def errors_of(method: Method, about: str) -> dict[int, str]:
    """HTTP status to what the comment says of it ("" where nothing), for every error that the method may answer with.

    `about` is the comment of the method. Raises ValueError when it names a code that does not exist.
    """
    statuses = dict.fromkeys((outcome.status for outcome in OUTCOMES if outcome.name in set(_names(method))), "")
    for code, words in stated(about):
        status = int(HTTP_STATUS[code])
        statuses[status] = "; ".join(filter(None, [statuses.get(status, ""), words]))
    return dict(sorted(statuses.items()))


def stated(about: str) -> Iterator[tuple[Code, str]]:
    """The codes that a comment names after `Errors:`, each with the words in parentheses. Raises ValueError for an unknown code."""
    sentence = _SENTENCE.search(about)
    for name, words in _PART.findall(sentence[1] if sentence else ""):
        if name not in Code.__members__:
            raise ValueError(f"{name} is no status code, in: {about}")
        yield Code[name], words


def _names(method: Method) -> Iterator[str]:
    yield from _ALWAYS
    rule = method.http or HttpRule("", "", "", "")
    if not method.is_public:
        yield "Unauthenticated"
    if variables_of(rule.path):
        yield "NotFound"
    if rule.body:
        yield from ("TooLarge", "MediaType")
    if method.takes_if_match:
        yield "PreconditionFailed"
