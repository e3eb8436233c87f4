"""Values that are gathered until no more can come: what a Collect node knows of the nodes upstream of it.

Upstream is *quiet* when each firing there that was queued has ended, and all its outputs are handed on.

Without a source, a quiet moment gives a list when at least one value came since the list before. The empty list is given only when there
was no list before, so a loop through a Collect ends when nothing comes round any more.

With a source, there is exactly one list, be it empty, for each firing of that node. What comes of a firing is tracked by its *origins*: the
firings of sources whose outputs, or what came of them, met in it. A list is given when no firing and no unfinished list upstream has its
origin any more. Firings that wait for further values hold it back, until all of the upstream is quiet: then nothing can complete them, and
all lists are given. A list that was given is not opened again. Values that belong to no open list go with the next one: those that static
links left behind, and those whose list was given. Behind a Collect its source is forgotten, unless another Collect there names it, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from services.execution.engine.plan import Gather

# The firings of sources that something came of, as (node's place in the graph, firing's index).
Origin: TypeAlias = tuple[int, int]
Origins: TypeAlias = frozenset[Origin]
NO_ORIGINS: Origins = frozenset()


@dataclass(slots=True)
class Gathered:
    """A list in the making. `busy` counts the firings upstream at work that may still add to it, `held` what may do so without being at
    work: firings that wait for values, and lists of Collect nodes upstream.
    """

    origins: Origins = NO_ORIGINS
    values: list[Any] = field(default_factory=list)
    busy: int = 0
    held: int = 0

    def add(self, value: Any, origins: Origins) -> Origins:
        """One more value, and where it came from; returns the origins that are new."""
        self.values.append(value)
        new = origins - self.origins
        self.origins |= new
        return new


class Gathering:
    """All lists in the making of one pin. `busy` counts the firings at work upstream. `lists` are those of the source's firings, `loose` is
    the only one when there is no source; else it has the values that go with the next list.
    """

    __slots__ = ("busy", "due", "gather", "has_given", "lists", "loose")

    def __init__(self, gather: Gather) -> None:
        self.gather = gather
        self.busy = 0
        self.has_given = False
        self.lists: dict[Origin, Gathered] = {}
        self.loose = Gathered()
        # Lists that nothing seemed to add to any more at some moment since the last time some were given.
        self.due: set[Origin] = set()

    def open(self, origin: Origin, origins: Origins) -> None:
        """A firing of the source begins its list."""
        self.lists[origin] = Gathered(origins)

    def enter(self, origins: Origins) -> None:
        """A firing upstream, with these origins, was queued."""
        self.busy += 1
        for _, gathered in self._open(origins):
            gathered.busy += 1

    def leave(self, origins: Origins) -> None:
        """It has ended, and all its outputs are handed on."""
        self.busy -= 1
        for origin, gathered in self._open(origins):
            gathered.busy -= 1
            self.due.add(origin)

    def hold(self, origins: Origins) -> None:
        """Something upstream with these origins waits."""
        for _, gathered in self._open(origins):
            gathered.held += 1

    def release(self, origins: Origins) -> None:
        """It waits no longer."""
        for origin, gathered in self._open(origins):
            gathered.held -= 1
            self.due.add(origin)

    def take(self, value: Any, origins: Origins) -> Iterator[Origins]:
        """A value has arrived. Tells the origins that lists have more than before."""
        for gathered in [gathered for _, gathered in self._open(origins)] or [self.loose]:
            yield gathered.add(value, origins)

    def complete(self) -> list[tuple[Gathered, ...]]:
        """Takes out the lists that are complete now, in the order of the source's firings; the values of the parts of each make it up."""
        due = sorted(self.lists) if not self.busy else sorted(self.due)
        self.due.clear()
        given: list[tuple[Gathered, ...]] = []
        for origin in due:
            gathered = self.lists.get(origin)
            if gathered is not None and not (self.busy and (gathered.busy or gathered.held)):
                del self.lists[origin]
                given.append((self._take_loose(), gathered))
        if self.gather.source is None and not self.busy and (self.loose.values or not self.has_given):
            given.append((self._take_loose(),))
        self.has_given = self.has_given or bool(given)
        return given

    def _take_loose(self) -> Gathered:
        loose, self.loose = self.loose, Gathered()
        return loose

    def _open(self, origins: Origins) -> list[tuple[Origin, Gathered]]:
        """The lists in the making that these origins have."""
        source = self.gather.source
        if source is None:
            return []
        keys = sorted(origin for origin in origins if origin[0] == source)
        return [(key, self.lists[key]) for key in keys if key in self.lists]
