"""What a run may take over from an earlier one of the same graph version: outputs of firings that completed with the same inputs."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status
from services.execution.engine.waits import WaitKind, child_errors

Outputs = Sequence[tuple[str, Any]]


class Memo:
    """The completed firings of an ended run, each to be used once, in their order. Those whose child run had failures are left out, so that
    a run which goes on tries these again, with a child that goes on from the old one.
    """

    def __init__(self) -> None:
        self._left: dict[tuple[str, bytes], deque[Outputs]] = {}
        self._taken: dict[int, Outputs | None] = {}
        self._children: dict[tuple[str, bytes], deque[str]] = {}
        self._children_taken: dict[int, str] = {}

    @classmethod
    def of(cls, state: State) -> "Memo":
        """What the run of that state, which has kept its history, did to the end."""
        memo = cls()
        for firing in state.firings.values():
            memo.add(firing)
        return memo

    def add(self, firing: Firing) -> None:
        """Takes the next firing of the ended run. It reads all of the firing's inputs, which may take milliseconds."""
        if firing.status is Status.COMPLETED and not child_errors(firing.answer):
            self._left.setdefault(_key(firing), deque()).append(firing.outputs)
        elif child_id := _child_of(firing):
            self._children.setdefault(_key(firing), deque()).append(child_id)

    def outputs_of(self, firing: Firing) -> Outputs | None:
        """What the firing gives without being run; None when it has to run. The same answer each time it is asked, so a replay that asks
        for each firing that was started finds the same things left.
        """
        if firing.index not in self._taken:
            key = _key(firing)
            found, children = self._left.get(key), self._children.get(key)
            if children and not found:
                self._children_taken[firing.index] = children.popleft()
            self._taken[firing.index] = found.popleft() if found else None
        return self._taken[firing.index]

    def child_of(self, firing: Firing) -> str | None:
        """The old run's child of a firing that has to run, as far as `outputs_of` was asked for it."""
        return self._children_taken.get(firing.index)


def _child_of(firing: Firing) -> str:
    """The last child that the firing started; empty when it started none."""
    wait = None if firing.course is None else firing.course.wait
    known = wait.value if wait is not None and wait.kind is WaitKind.CHILD else firing.answer
    found = known.get("execution_id") if isinstance(known, Mapping) else None
    return found if isinstance(found, str) else ""


def _key(firing: Firing) -> tuple[str, bytes]:
    return firing.node.id, blake2b(_canonical(firing.inputs), digest_size=16).digest()


def _canonical(inputs: Mapping[str, Any]) -> bytes:
    """The same bytes for the same inputs, in whatever order they arrived."""
    try:
        return orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return json.dumps(inputs, sort_keys=True).encode()
