"""Envoy's rate limit protocol: what it asks and the verdict, in its words.

A descriptor holds `class` and one of `user`, `key` and an address. With an entry `lease` it asks for so many further calls, to count them
by itself; how many it was lent is in the metadata of the answer.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from treadle.limit.envoy.v3 import rate_limit_pb2 as pb

from mesh.errors import ResourceExhaustedError
from mesh.rates import BUILT_IN
from mesh.status import DETAILS, to_json, to_status
from services.limit.book import Book
from services.limit.gcra import Bucket, Verdict
from services.limit.plans import ADDRESS

# Nobody is lent more than this in one go.
MAX_LEASE = 10_000

_CLASS, _LEASE = "class", "lease"
# How Envoy names what a call is counted under, and what we call it.
_KINDS: Mapping[str, str] = {"user": "user", "key": "key", "masked_remote_address": ADDRESS, "remote_address": ADDRESS}


@dataclass(frozen=True, slots=True)
class Question:
    """What the edge wants to know: a bucket for each descriptor, None where we have no limit, and so many calls of each."""

    rate_class: str
    buckets: Sequence[Bucket | None]
    calls: int
    wanted: int

    @property
    def counted(self) -> list[Bucket]:
        """The buckets that are there."""
        return [bucket for bucket in self.buckets if bucket is not None]


def read_question(request: pb.RateLimitRequest, book: Book) -> Question:
    """The question. What we know nothing of has no limit."""
    entries = [{entry.key: entry.value for entry in descriptor.entries} for descriptor in request.descriptors]
    leases = [int(found[_LEASE]) for found in entries if found.get(_LEASE, "").isdecimal()]
    calls = [request.hits_addend, *(item.hits_addend.value for item in request.descriptors if item.HasField("hits_addend"))]
    return Question(
        rate_class=next((found[_CLASS] for found in entries if _CLASS in found), ""),
        buckets=[_bucket(found, book) for found in entries],
        calls=max(1, *calls),
        wanted=min([MAX_LEASE, *leases]) if leases else 0,
    )


def write_answer(question: Question, verdict: Verdict | None) -> pb.RateLimitResponse:
    """The answer; without a verdict, which is when nothing was to be counted, the call is granted."""
    answer = pb.RateLimitResponse(overall_code=pb.RateLimitResponse.CODE_OK)
    if verdict is None:
        answer.statuses.extend(pb.RateLimitResponse.DescriptorStatus(code=answer.overall_code) for _ in question.buckets)
        return answer
    is_refused = verdict.wait_s > 0
    levels = iter(verdict.levels)
    for bucket in question.buckets:
        answer.statuses.append(_status(bucket, next(levels).left if bucket else 0, question.calls if is_refused else 0))
    tightest, level = min(zip(question.counted, verdict.levels, strict=True), key=lambda pair: pair[1].left)
    limit, remaining, reset_s = tightest.rate.burst, max(0, level.left), math.ceil(level.full_in_s)
    for name, value in (("limit", limit), ("remaining", remaining), ("reset", reset_s)):
        answer.response_headers_to_add.add(key=f"ratelimit-{name}", value=str(value))
    for_edge: dict[str, float | str] = {
        "lent": verdict.lent,
        "limit": limit,
        "remaining": remaining,
        "reset_ms": level.full_in_s * 1000,
        "retry_ms": math.ceil(verdict.wait_s * 1000),
    }
    if is_refused:
        answer.overall_code = pb.RateLimitResponse.CODE_OVER_LIMIT
        error = _refusal(question.rate_class, verdict.wait_s)
        details = base64.b64encode(to_status(error).SerializeToString()).decode().rstrip("=")
        answer.response_headers_to_add.add(key="retry-after", value=str(max(1, math.ceil(verdict.wait_s))))
        answer.response_headers_to_add.add(key=DETAILS, value=details)
        answer.raw_body = to_json(error)
        for_edge |= {"body": answer.raw_body.decode(), "details": details}
    answer.dynamic_metadata.update(for_edge)
    return answer


def _bucket(entries: Mapping[str, str], book: Book) -> Bucket | None:
    rate_class = entries.get(_CLASS, "")
    kind, value = next(((kind, entries[name]) for name, kind in _KINDS.items() if name in entries), ("", ""))
    if rate_class not in BUILT_IN or not kind:
        return None
    return Bucket(f"limit:{rate_class}:{kind}:{value}", book.plan(kind, value).rates[rate_class])


def _status(bucket: Bucket | None, left: int, missing: int) -> pb.RateLimitResponse.DescriptorStatus:
    if bucket is None:
        return pb.RateLimitResponse.DescriptorStatus(code=pb.RateLimitResponse.CODE_OK)
    is_short = left < missing
    return pb.RateLimitResponse.DescriptorStatus(
        code=pb.RateLimitResponse.CODE_OVER_LIMIT if is_short else pb.RateLimitResponse.CODE_OK,
        current_limit=pb.RateLimitResponse.RateLimit(
            requests_per_unit=max(1, round(bucket.rate.per_second)), unit=pb.RateLimitResponse.RateLimit.UNIT_SECOND
        ),
        limit_remaining=max(0, left),
    )


def _refusal(rate_class: str, wait_s: float) -> ResourceExhaustedError:
    return ResourceExhaustedError(
        f"Too many requests of the class {rate_class}. Try again in {max(1, math.ceil(wait_s))} s.",
        reason="RATE_LIMITED",
        metadata={"limit": rate_class},
        retry_after_s=wait_s,
    )
