"""What a firing may wait for. While it does, it holds no place in a worker, however long that takes; then it goes on with the answer.

A block that may wait says so (`Block.may_wait`) and names its wait (`Block.wait_for`); `run` finds the answer in `ctx.answer`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Review:
    """A person's decision on `data`. Answer: `{"approved": bool, "data": any, "message": str}`; `data` is as edited, if it may be."""

    message: str
    data: Any = None
    is_editable: bool = False


@dataclass(frozen=True, slots=True)
class Timer:
    """A time, `delay_s` seconds from now. Answer: null."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Child:
    """The end of a run of another agent, of the same owner. `graph_version` 0 means the active one.

    Answer: `{"execution_id", "status", "outcome", "error", "outputs": [[name, value], …], "node_count"}`; `outputs` are what the pins
    `output` of the agent's output nodes gave, in order.
    """

    graph_id: str
    graph_version: int = 0
    inputs: Mapping[str, Any] = field(default_factory=dict)
    # Replace values in the other run, by node id and pin.
    input_masks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


Wait: TypeAlias = Review | Timer | Child
