"""Finds the installed blocks."""

import importlib
import logging
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from services.block.sdk.base import Block
from services.block.sdk.inputs import input_plan
from services.block.sdk.outputs import output_plan

ENTRY_POINT_GROUP = "treadle.blocks"
# Whatever a plugin raises must not stop the process, not even its wish to exit.
_FAULTS = (Exception, SystemExit)
_REASON_CHARS = 1_000
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that could not be used, and why. `id` is that of the block, empty where it is not known or not its own."""

    name: str
    reason: str
    id: str = ""


class BlockRegistry:
    """The blocks of a process, one instance of each. `broken` maps the full name of what could not be used to the reason."""

    def __init__(self, blocks: Iterable[type[Block]] = ()) -> None:
        """Takes block classes; `installed` is how a process gets all of them."""
        self._blocks: dict[str, Block] = {}
        self.broken: dict[str, Broken] = {}
        for block in blocks:
            self.add(block)

    @classmethod
    def installed(cls) -> "BlockRegistry":
        """All blocks of the installed packages. Loaded once per process; a broken package disables itself, not the others."""
        return _installed()

    def add(self, block_class: Any) -> None:
        """Registers a block class. What is not sound, or has an id that is taken, is set aside as broken."""
        if not (isinstance(block_class, type) and issubclass(block_class, Block)):
            self._set_aside(repr(block_class)[:200], "it is no block class")
            return
        name, block_id = f"{block_class.__module__}.{block_class.__qualname__}", str(block_class.id)
        if not block_id:
            self._set_aside(name, "it has no id")
            return
        taken = self._blocks.get(block_id)
        if taken is not None:
            if type(taken) is not block_class:
                self._set_aside(name, f"its id {block_id} belongs to {taken.name}")
            return
        try:
            block = block_class()
            input_plan(block)
            output_plan(block)
        except _FAULTS as error:
            self._set_aside(name, _reason(error), block_id)
            return
        self._blocks[block_id] = block

    def get(self, block_id: str) -> Block | None:
        """The block with that id, or None."""
        return self._blocks.get(block_id)

    def all(self) -> Sequence[Block]:
        """All blocks, ordered by name."""
        return sorted(self._blocks.values(), key=lambda block: (block.name, block.id))

    def load(self, points: Iterable[EntryPoint]) -> None:
        """Registers what the entry points name: a package, a module or a block class."""
        for point in points:
            try:
                found = point.load()
            except _FAULTS as error:
                self._set_aside(point.value, _reason(error))
                continue
            for block_class in self._classes(found):
                self.add(block_class)

    def _classes(self, found: Any) -> Iterator[Any]:
        if not isinstance(found, ModuleType):
            yield found
            return
        for module in self._modules(found):
            for item in vars(module).values():
                if isinstance(item, type) and issubclass(item, Block) and item.id and item.__module__ == module.__name__:
                    yield item

    def _modules(self, root: ModuleType) -> Iterator[ModuleType]:
        yield root
        for info in pkgutil.iter_modules(getattr(root, "__path__", ()), f"{root.__name__}."):
            try:
                module = importlib.import_module(info.name)
            except _FAULTS as error:
                self._set_aside(info.name, _reason(error))
                continue
            yield from self._modules(module)

    def _set_aside(self, name: str, reason: str, block_id: str = "") -> None:
        self.broken[name] = Broken(name.rpartition(".")[2] if block_id else name, reason, block_id)
        _LOG.warning("block_disabled", extra={"block": name, "reason": reason})


def _reason(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= _REASON_CHARS else f"{text[:_REASON_CHARS]}…"


@cache
def _installed() -> BlockRegistry:
    registry = BlockRegistry()
    registry.load(entry_points(group=ENTRY_POINT_GROUP))
    return registry
