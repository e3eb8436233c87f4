"""Finds the installed blocks."""

import importlib
import logging
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from services.block.sdk.base import Block
from services.block.sdk.inputs import input_plan
from services.block.sdk.outputs import output_plan

ENTRY_POINT_GROUP = "treadle.blocks"
_LOG = logging.getLogger(__name__)


class BlockRegistry:
    """The blocks of a process, one instance of each. `broken` maps what could not be used to the reason."""

    def __init__(self, blocks: Iterable[type[Block]] = ()) -> None:
        """Takes block classes; `installed` is how a process gets all of them."""
        self._blocks: dict[str, Block] = {}
        self.broken: dict[str, str] = {}
        for block in blocks:
            self.add(block)

    @classmethod
    def installed(cls) -> "BlockRegistry":
        """All blocks of the installed packages. Loaded once per process; a broken package disables itself, not the others."""
        return _installed()

    def add(self, block_class: type[Block]) -> None:
        """Registers a block. One that is not sound, or whose id is taken, is set aside as broken."""
        name = f"{block_class.__module__}.{block_class.__qualname__}"
        try:
            block = block_class()
            input_plan(block)
            output_plan(block)
        except Exception as error:  # noqa: BLE001,RUF100 - whatever a plugin raises must not stop the process
            self._set_aside(name, f"{type(error).__name__}: {error}")
            return
        taken = self._blocks.setdefault(block.id, block)
        if taken is not block and type(taken) is not block_class:
            self._set_aside(name, f"its id {block.id} belongs to {taken.name}")

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
            except Exception as error:  # noqa: BLE001,RUF100 - see add
                self._set_aside(point.value, f"{type(error).__name__}: {error}")
                continue
            for block_class in self._classes(found):
                self.add(block_class)

    def _classes(self, found: Any) -> Iterator[type[Block]]:
        if not isinstance(found, ModuleType):
            yield found
            return
        for module in self._modules(found):
            for item in vars(module).values():
                if isinstance(item, type) and issubclass(item, Block) and item.id and item.__module__ == module.__name__:
                    yield item

    def _modules(self, root: ModuleType) -> Iterator[ModuleType]:
        yield root
        for info in pkgutil.walk_packages(getattr(root, "__path__", ()), f"{root.__name__}."):
            try:
                yield importlib.import_module(info.name)
            except Exception as error:  # noqa: BLE001,RUF100 - see add
                self._set_aside(info.name, f"{type(error).__name__}: {error}")

    def _set_aside(self, name: str, reason: str) -> None:
        self.broken[name] = reason
        _LOG.warning("block_disabled", extra={"block": name, "reason": reason})


@cache
def _installed() -> BlockRegistry:
    registry = BlockRegistry()
    registry.load(entry_points(group=ENTRY_POINT_GROUP))
    return registry
