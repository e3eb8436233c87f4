"""What a node's metadata says about running it: further attempts, a time limit, interruptions, and what it stands for in a dry run.

    {"retry": {"attempts": 5, "backoff_s": 2, "multiplier": 2, "max_backoff_s": 60, "on": ["TimeoutError", "ConnectError"]},
     "timeout_s": 30, "on_interrupt": "ask", "stub_outputs": [["response", {"ok": true}]]}

Everything is optional, and a node without any of it is run as the platform runs it.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.block.sdk.errors import BlockError

MAX_ATTEMPTS = 100
MAX_BACKOFF_S = 30 * 86400.0


class OnInterrupt(StrEnum):
    """What becomes of a firing whose worker was lost while it ran."""

    RETRY = "retry"  # run again: its effect may happen twice
    FAIL = "fail"
    ASK = "ask"  # a person decides


class Retry(BaseModel):
    """Further attempts of a firing that failed.

    `attempts` counts all, the first included. The pause before the next is `backoff_s`, `multiplier` times longer after each failure, up to
    `max_backoff_s` (seconds). `on` names the failures that deserve another attempt, by a part of the message or by kind, such as
    `NodeTimeoutError` (`timeout_s` was over), `AgentFailedError`, or of requests `TimeoutError`, `ConnectError` and `ReadError`; empty for
    all. An answer of a server is no failure, whatever its status: it comes out of a pin of its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    attempts: int = Field(ge=1, le=MAX_ATTEMPTS, strict=True)
    backoff_s: float = Field(1.0, ge=0, le=MAX_BACKOFF_S, allow_inf_nan=False)
    multiplier: float = Field(2.0, ge=1, le=100, allow_inf_nan=False)
    max_backoff_s: float = Field(3600.0, ge=0, le=MAX_BACKOFF_S, allow_inf_nan=False)
    on: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    def pause_s(self, failures: int) -> float:
        """The pause after that many failed attempts, in seconds."""
        try:
            grown = self.backoff_s * self.multiplier ** (failures - 1)
        except OverflowError:
            grown = self.max_backoff_s
        return min(grown, self.max_backoff_s)

    def allows(self, failures: int, error: BlockError) -> bool:
        """Whether there is another attempt after `failures` failed ones, the last of them with `error`."""
        return failures < self.attempts and (not self.on or any(part == error.kind or part in error.message for part in self.on))


class NodePolicy(BaseModel):
    """How a node's firings are run. None means: as the worker and the block say."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    retry: Retry | None = None
    timeout_s: float | None = Field(None, gt=0, le=MAX_BACKOFF_S, allow_inf_nan=False)
    on_interrupt: OnInterrupt | None = None
    # What it emits in a dry run instead of having an effect.
    stub_outputs: tuple[tuple[str, Any], ...] | None = None


class PolicyError(ValueError):
    """Metadata that says something wrong. `problems` are (path, message), the path as in `retry.attempts`."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in problems))
        self.problems = tuple(problems)


PLAIN = NodePolicy()
_NAMES = NodePolicy.model_fields.keys()


def policy_schema() -> dict[str, Any]:
    """What `node_policy` takes, as a JSON Schema that says of each wrong field where it is."""
    schema = NodePolicy.model_json_schema()
    definitions = schema.pop("$defs", {})
    schema["properties"] = {name: _or_null(part, definitions) for name, part in schema["properties"].items()}
    return schema


def _or_null(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """One schema in place of a choice between it and null: of a choice, a validator says no more than that nothing fits."""
    (found,) = (choice for choice in part["anyOf"] if choice != {"type": "null"})
    if "$ref" in found:
        found = definitions[found["$ref"].rpartition("/")[2]]
    nullable = {**found, "type": [found["type"], "null"]}
    if "enum" in found:
        nullable["enum"] = [*found["enum"], None]
    return nullable


def node_policy(metadata: Mapping[str, Any]) -> NodePolicy:
    """The policy in a node's metadata. Raises PolicyError."""
    if _NAMES.isdisjoint(metadata):
        return PLAIN
    try:
        return NodePolicy.model_validate(metadata)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise PolicyError([(".".join(map(str, item["loc"])), item["msg"]) for item in found]) from None
