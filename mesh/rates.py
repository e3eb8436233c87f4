"""How often somebody may call, by rate class, as long as nobody has said otherwise: the plans that the rate limiter is shipped with, and
what the edge grants by itself while the limiter is away.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls per second on average, and so many at once after a pause."""

    per_second: float
    burst: int


# Wide enough for one person's load tests against one machine; a service for many sets its own plans.
BUILT_IN: Mapping[str, Rate] = {
    "read": Rate(20_000, 40_000),
    "write": Rate(3_000, 6_000),
    "execute": Rate(3_000, 6_000),
    "auth": Rate(100, 1_000),
    "stream": Rate(3_000, 6_000),
}
# Requests of one address in all classes together, before anything else is asked about them.
WALL = Rate(50_000, 50_000)
