"""What people are asked in an execution, and what they decide."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh import jsontext
from mesh.errors import Violation
from services.execution.engine.events import EventKind
from services.execution.engine.waits import WaitKind, is_approved, is_for_the_future
from services.execution.errors import execution_ended, review_decided, review_invalid, review_not_found
from services.execution.history import ENDED
from services.execution.lines import Line, Renderer, read_row, resolved, timestamp
from services.execution.notices import Notices
from services.execution.repository.executions import ExecutionRepository, Record
from services.execution.repository.reviews import ReviewRepository
from services.execution.repository.signals import Signal
from services.execution.snapshots import Snapshots

_WAITS = frozenset({EventKind.NODE_REVIEW, EventKind.NODE_WAITING})
_KINDS = _WAITS | {EventKind.NODE_RESUMED}
# A page ends early when it holds this much: a message has 4 MiB.
MAX_PAGE_BYTES = 1024 * 1024


@dataclass(slots=True)
class _Asked:
    """A review as the journal has it: where its question is and, once a firing took it, the answer: (seq of the row, place in it)."""

    node_id: str
    firing_id: str
    firing: int
    ordinal: int
    time_us: int
    question: tuple[int, int]
    answer: tuple[int, int] | None = None
    decided_us: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Reviews, and the place of the next page; None when this is the last."""

    reviews: Sequence[pb.Review]
    next: int | None


class Reviews:
    """Lists and decides reviews. Callers have made sure that the execution is the owner's."""

    def __init__(self, repository: ExecutionRepository, decisions: ReviewRepository, snapshots: Snapshots, notices: Notices) -> None:
        self._repository = repository
        self._decisions = decisions
        self._snapshots = snapshots
        self._notices = notices

    async def page(self, record: Record, status: int, first: int, size: int) -> Page:
        """Up to `size` reviews from place `first` on, in the order they were asked; those in one status when it is not 0. Fewer when they
        are large.
        """
        asked = await self._asked(record)
        shown: list[pb.Review] = []
        size_bytes = 0
        for start in range(first, len(asked), size):
            for place, message in enumerate(await self._messages(record, asked[start : start + size]), start):
                if status and message.status != status:
                    continue
                size_bytes += message.ByteSize()
                if len(shown) == size or (shown and size_bytes > MAX_PAGE_BYTES):
                    return Page(shown, place)
                shown.append(message)
        return Page(shown, None)

    async def decide(self, record: Record, decisions: Sequence[pb.ReviewDecision]) -> list[pb.Review]:
        """Decides reviews, all or none, and wakes the run. The newest review of a firing counts. Returns them as they are then.

        Raises NotFoundError (REVIEW_NOT_FOUND), InvalidArgumentError (REVIEW_INVALID), FailedPreconditionError (REVIEW_DECIDED,
        EXECUTION_ENDED).
        """
        newest = {item.firing_id: item for item in await self._asked(record)}
        unknown = [decision.node_execution_id for decision in decisions if decision.node_execution_id not in newest]
        if unknown:
            raise review_not_found(unknown)
        named = [newest[decision.node_execution_id] for decision in decisions]
        before = await self._messages(record, named)
        violations = [violation for at, decision in enumerate(decisions) for violation in _problems(at, decision, before[at])]
        violations += _twice(decisions)
        if violations:
            raise review_invalid(violations)
        answers = [_answer(decision, review) for decision, review in zip(decisions, before, strict=True)]
        decided = [pb.REVIEW_STATUS_APPROVED, pb.REVIEW_STATUS_REJECTED]
        others = [
            review.node_execution_id
            for review, answer in zip(before, answers, strict=True)
            if review.status in decided and answer != _answer_of(review)
        ]
        if others:
            raise review_decided(others)
        signals = [
            Signal(item.firing, item.ordinal, jsontext.dumps(answer))
            for item, answer, review in zip(named, answers, before, strict=True)
            if review.status not in decided
        ]
        if signals:
            await self._write(record, signals, named)
        named.sort(key=lambda item: item.question)
        return await self._messages(record, named)

    async def _write(self, record: Record, signals: Sequence[Signal], named: Sequence[_Asked]) -> None:
        decided = await self._decisions.decide(record.id, signals)
        if decided.is_over:
            raise execution_ended(record.id)
        if decided.conflicts:
            firings = {(item.firing, item.ordinal): item.firing_id for item in named}
            raise review_decided([firings[signal.firing, signal.wait] for signal in decided.conflicts])
        if decided.woken is not None:
            await self._notices.signalled(decided.woken)

    async def _asked(self, record: Record) -> list[_Asked]:
        """All reviews of the execution, without what is large."""
        names = (await self._snapshots.get(*record.snapshot)).names
        renderer = Renderer(record.id, names.nodes)
        found: list[_Asked] = []
        waits: dict[int, int] = {}
        open_by_firing: dict[int, _Asked] = {}
        seq = 0
        while rows := await self._repository.events_of_kinds(record.id, seq, _KINDS):
            for row in rows:
                for at, line in enumerate(read_row(row.events)):
                    if line.kind == EventKind.NODE_REVIEW:
                        node_id, _, firing_id = renderer.firing(line.node, line.nth)
                        number = waits.get(line.firing, 0)
                        asked = _Asked(node_id, firing_id, line.firing, number, line.time_us, (row.seq, at))
                        open_by_firing[line.firing] = asked
                        found.append(asked)
                    elif line.kind == EventKind.NODE_RESUMED and line.firing in open_by_firing:
                        asked = open_by_firing.pop(line.firing)
                        asked.answer, asked.decided_us = (row.seq, at), line.time_us
                    if line.kind in _WAITS:
                        waits[line.firing] = waits.get(line.firing, 0) + 1
            seq = rows[-1].seq
        return found

    async def _messages(self, record: Record, asked: Sequence[_Asked]) -> list[pb.Review]:
        values = await self._values(record.id, [place for item in asked for place in (item.question, item.answer) if place])
        given = await self._decisions.answers(record.id, [(item.firing, item.ordinal) for item in asked]) if asked else {}
        shown: list[pb.Review] = []
        for item in asked:
            taken = values[item.answer] if item.answer else None
            shown.append(_message(record, item, values[item.question], taken, given.get((item.firing, item.ordinal))))
        return shown

    async def _values(self, execution_id: str, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Any]:
        """The values of events, given by the seq of their row and their place in it."""
        lines: dict[tuple[int, int], Line] = {}
        wanted = set(places)
        for row in await self._repository.events_at(execution_id, sorted({seq for seq, _ in wanted})):
            lines |= {(row.seq, at): line for at, line in enumerate(read_row(row.events)) if (row.seq, at) in wanted}
        hashes = {line.ref for line in lines.values() if line.ref}
        contents = await self._repository.values(execution_id, hashes) if hashes else {}
        return {place: resolved(line, contents).event.value for place, line in lines.items()}


def _problems(at: int, decision: pb.ReviewDecision, review: pb.Review) -> Iterable[Violation]:
    if decision.HasField("reviewed_data") and not review.is_editable:
        yield Violation(f"reviews[{at}].reviewed_data", "this review's data may not be changed")
    if decision.auto_approve_future and not decision.approved:
        yield Violation(f"reviews[{at}].auto_approve_future", "goes only with approved")


def _twice(decisions: Sequence[pb.ReviewDecision]) -> list[Violation]:
    ids = [decision.node_execution_id for decision in decisions]
    return [Violation(f"reviews[{at}].node_execution_id", "is named twice") for at, found in enumerate(ids) if found in ids[:at]]


def _answer(decision: pb.ReviewDecision, review: pb.Review) -> dict[str, Any]:
    """What the firing is told."""
    data = decision.reviewed_data.json if decision.HasField("reviewed_data") else review.data.json
    return {
        "approved": decision.approved,
        "data": jsontext.loads(data),
        "message": decision.message,
        "auto_approve_future": decision.auto_approve_future,
    }


def _answer_of(review: pb.Review) -> dict[str, Any]:
    """What the firing was told."""
    return {
        "approved": review.status == pb.REVIEW_STATUS_APPROVED,
        "data": jsontext.loads(review.reviewed_data.json),
        "message": review.decision_message,
        "auto_approve_future": review.auto_approve_future,
    }


def _message(record: Record, asked: _Asked, question: Mapping[str, Any], taken: Any, given: str | None) -> pb.Review:
    """`taken` is the answer that the journal has, `given` the one that somebody gave (JSON text)."""
    message = pb.Review(
        node_execution_id=asked.firing_id,
        node_id=asked.node_id,
        execution_id=record.id,
        ordinal=asked.ordinal,
        message=str(question.get("message") or ""),
        data=JsonValue(json=jsontext.dumps(question.get("data"))),
        is_editable=question.get("is_editable") is True,
        create_time=timestamp(asked.time_us),
        cause=pb.REVIEW_CAUSE_INTERRUPTED if question.get("for") == WaitKind.INTERRUPTION.value else pb.REVIEW_CAUSE_BLOCK,
    )
    answer = taken if taken is not None else None if given is None else jsontext.loads(given)
    if isinstance(answer, dict):
        message.status = pb.REVIEW_STATUS_APPROVED if is_approved(answer) else pb.REVIEW_STATUS_REJECTED
        message.decision_message = str(answer.get("message") or "")
        message.reviewed_data.json = jsontext.dumps(answer.get("data"))
        message.auto_approve_future = is_for_the_future(answer)
        message.is_automatic = given is None
    else:
        message.status = pb.REVIEW_STATUS_CLOSED if record.status in ENDED else pb.REVIEW_STATUS_PENDING
    if asked.decided_us:
        message.decide_time.CopyFrom(timestamp(asked.decided_us))
    return message
