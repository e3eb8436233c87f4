"""Reads JSON text that came from users: strict, exact, and never deeper than the rest of the system can carry."""

import re
from typing import Any

from mesh import jsoncheck, jsontext

_LONG_NUMBER = re.compile(r"\d{19}")


def read_json(text: str) -> Any:
    """The value in the text; integers are exact. Raises ValueError for what is no JSON, and for what nests too deep TooDeepError."""
    value = jsoncheck.check(text.encode())
    # The check reads integers beyond 64 bits inexactly.
    return jsontext.loads(text) if _LONG_NUMBER.search(text) else value
