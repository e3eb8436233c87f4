"""Values that are gathered until no more can come: what a Collect node knows of the nodes upstream of it.

Without a source, the values make one list each time that nothing upstream is open and all its outputs are handed on. With one, they make a
list for each firing of that node, when that firing and everything that came of it has ended. What comes of a firing is tracked by its
*origins*: the firings of sources whose outputs, or what came of them, met in it. Values that static links left behind carry none.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

from services.execution.engine.plan import Gather

# The firings of sources that something came of, as (node's place in the graph, firing's index).
Origins: TypeAlias = frozenset[tuple[int, int]]
NO_ORIGINS: Origins = frozenset()


class Gathered:
    """A list in the making. `busy` counts the firings upstream that may still add to it."""

    __slots__ = ("busy", "origins", "values")

    def __init__(self, origins: Origins = NO_ORIGINS) -> None:
        self.busy = 0
        self.values: list[Any] = []
        self.origins = origins

    def add(self, value: Any, origins: Origins) -> None:
        """One more value, and where it came from."""
        self.values.append(value)
        self.origins |= origins


class Gathering:
    """All lists in the making of one pin: by the firing of the source, or the one that is common to all."""

    __slots__ = ("gather", "lists", "loose")

    def __init__(self, gather: Gather) -> None:
        self.gather = gather
        self.lists: dict[tuple[int, int] | None, Gathered] = {}
        # Values that did not come from the source go with the next list.
        self.loose = Gathered()

    def enter(self, origins: Origins) -> None:
        """A firing upstream, with these origins, was queued."""
        for key in self._keys(origins):
            if key not in self.lists:
                self.lists[key] = Gathered(origins if key is not None else NO_ORIGINS)
            self.lists[key].busy += 1

    def leave(self, origins: Origins) -> None:
        """It has ended, and all its outputs are handed on."""
        for key in self._keys(origins):
            self.lists[key].busy -= 1

    def take(self, value: Any, origins: Origins) -> None:
        """A value has arrived."""
        taken = [self.lists[key] for key in self._keys(origins) if key in self.lists]
        for gathered in taken or (self.loose,):
            gathered.add(value, origins)

    def finished(self, origins: Origins) -> Iterator[Gathered]:
        """The lists that are complete now that a firing with these origins has left, in the order of the source's firings."""
        for key in self._keys(origins):
            gathered = self.lists.get(key)
            if gathered is not None and not gathered.busy:
                del self.lists[key]
                gathered.values[:0] = self.loose.values
                gathered.origins |= self.loose.origins
                self.loose = Gathered()
                yield gathered

    def _keys(self, origins: Origins) -> list[tuple[int, int] | None]:
        source = self.gather.source
        return [None] if source is None else [origin for origin in sorted(origins) if origin[0] == source]
