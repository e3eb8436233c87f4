"""JSON text in and out, without loss: integers of any size, key order, no NaN.

orjson does the work; the standard library takes over for integers beyond 64 bits, which orjson would turn into floats or refuse.
"""

import json
import re
from math import isinf
from typing import Any

import orjson

# Only a run of this many digits can hold an integer that orjson does not keep exactly.
_LONG_NUMBER = re.compile(r"\d{19}")


def loads(text: str | bytes) -> Any:
    """Parses JSON text. Raises ValueError on text that is not JSON (NaN and Infinity are not) and on numbers beyond a double's range."""
    as_text = text if isinstance(text, str) else text.decode()
    if len(as_text) < 19 or not _LONG_NUMBER.search(as_text):  # noqa: PLR2004 - the run length of the pattern above
        return orjson.loads(as_text)
    return json.loads(as_text, parse_constant=_refuse_constant, parse_float=_finite)


def dumps(value: Any) -> str:
    """Writes compact JSON text. NaN and infinities become null, as in every browser. Raises TypeError on what JSON cannot hold."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return _dumps_long(value)


def encode(value: Any) -> bytes:
    """The same in UTF-8. Raises UnicodeEncodeError (a ValueError) as well, for a text that has no such form."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return _dumps_long(value).encode()


def _dumps_long(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError(f"{text[:40]} is beyond the range of a double")
    return number


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
