"""The blocks as this service sees them: which pins they have and what a graph may do with them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs

# What is wrong may be long, and is quoted.
_MESSAGE_CHARS = 300

INPUT = "Input"
OUTPUT = "Output"
NOTE = "Note"
AGENT = "Agent"
WEBHOOKS = frozenset({"Webhook", "Webhook (manual)"})


@dataclass(frozen=True, slots=True)
class BlockView:
    """A block of the catalogue. The schemas are JSON Schemas with one property per pin."""

    id: str
    name: str
    type: str
    static_output: bool
    is_disabled: bool
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    # Why it could not be loaded; such a block has no pins and counts as not installed.
    fault: str = ""
    inputs: dict[str, dict[str, Any]] = field(init=False)
    outputs: dict[str, dict[str, Any]] = field(init=False)
    required: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Takes the pins out of the schemas once."""
        object.__setattr__(self, "inputs", self.input_schema.get("properties", {}))
        object.__setattr__(self, "outputs", self.output_schema.get("properties", {}))
        object.__setattr__(self, "required", tuple(self.input_schema.get("required", ())))


class Catalogue:
    """An unchanging set of blocks."""

    def __init__(self, blocks: Iterable[BlockView] = (), metadata_schema: Mapping[str, Any] | None = None) -> None:
        """Keeps the blocks by id; of those that could not be loaded only why. The schema is that of nodes' metadata."""
        self._metadata_names = frozenset((metadata_schema or {}).get("properties", ()))
        self._metadata = jsonschema_rs.validator_for(dict(metadata_schema or {}))
        found = list(blocks)
        self._blocks = {block.id: block for block in found if not block.fault}
        self._faults = {block.id: f"{block.name} could not be loaded: {block.fault}" for block in found if block.fault}

    def get(self, block_id: str) -> BlockView | None:
        """The block with that id, or None when it is not installed."""
        return self._blocks.get(block_id)

    def why_missing(self, block_id: str) -> str:
        """Why there is no such block, in words."""
        return self._faults.get(block_id) or f"there is no block with the id {block_id!r}"

    def metadata_problems(self, metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """What no run takes in a node's metadata: the path to it, such as `retry.attempts`, and why."""
        said = {name: metadata[name] for name in self._metadata_names & metadata.keys()}
        if said and not self._metadata.is_valid(said):
            for error in self._metadata.iter_errors(said):
                yield ".".join(map(str, error.instance_path)), error.message[:_MESSAGE_CHARS]

    def __iter__(self) -> Iterator[BlockView]:
        """All blocks."""
        return iter(self._blocks.values())

    def __len__(self) -> int:
        """How many blocks there are."""
        return len(self._blocks)
