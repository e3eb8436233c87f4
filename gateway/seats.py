"""How many sockets there may be: in all of a process, and of one user."""

from collections import Counter
from collections.abc import Callable

from mesh.errors import ResourceExhaustedError

# Whose places the sockets have that have not proved whose they are.
STRANGER = ""


class Seats:
    """Counts open sockets; `taken` is how many there are."""

    def __init__(self, total: int, per_user: int) -> None:
        self._total = total
        self._per_user = per_user
        self._taken: Counter[str] = Counter()
        self.taken = 0

    def take(self, user_id: str) -> Callable[[], None]:
        """Counts a socket; call what this returns once when it is closed. Raises RESOURCE_EXHAUSTED (TOO_MANY_SOCKETS)."""
        if self.taken >= self._total:
            raise ResourceExhaustedError("There are too many sockets.", reason="TOO_MANY_SOCKETS", metadata={"limit": str(self._total)})
        if self._taken.get(user_id, 0) >= self._per_user:
            sentence = f"A user can have {self._per_user} sockets open."
            raise ResourceExhaustedError(sentence, reason="TOO_MANY_SOCKETS", metadata={"limit": str(self._per_user)})
        self._taken[user_id] += 1
        self.taken += 1

        def leave() -> None:
            self.taken -= 1
            self._taken[user_id] -= 1
            if not self._taken[user_id]:
                del self._taken[user_id]

        return leave
