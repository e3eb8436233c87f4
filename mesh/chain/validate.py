"""Checks messages by the rules in their contracts."""

from collections.abc import Callable, Sequence

from google.protobuf.message import Message

from mesh.call import Call
from mesh.errors import InvalidArgumentError, Violation


class Validate:
    """After auth, so that strangers cost nothing. Names everything that is wrong at once."""

    name = "validate"

    def __init__(self, violations: Callable[[Message], Sequence[Violation]]) -> None:
        """`violations` finds what breaks the rules of a message's contract."""
        self._violations = violations

    def check(self, call: Call, request: Message) -> None:
        """Raises InvalidArgumentError (REQUEST_INVALID) with every violation."""
        found = self._violations(request)
        if found:
            first = found[0]
            raise InvalidArgumentError(f"{first.field}: {first.description}", reason="REQUEST_INVALID", violations=found)
