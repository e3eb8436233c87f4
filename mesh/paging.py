"""Opaque page tokens: where the next page starts, as the repository's own sort key.

A token is not secret and not signed: it only ever narrows a query that is bound to the caller anyway. It is checked strictly, so that a
forged one is refused and never reaches SQL with a value of the wrong type.
"""

import base64
import binascii
import datetime as dt
import re
from collections.abc import Sequence

import orjson

from mesh.errors import InvalidArgumentError, Violation
from mesh.ids import canonical_uuid

# A part of a sort key. Times travel as text.
KeyPart = str | int

# Whole microseconds: through a float the last one would get lost, and with it a row.
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_MAX_OFFSET = (1 << 31) - 1

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,1000}", re.ASCII)


def write_token(*key: KeyPart) -> str:
    """A token for the page after the row with this sort key."""
    return base64.urlsafe_b64encode(orjson.dumps(key)).decode().rstrip("=")


def read_token(token: str, types: Sequence[type[str] | type[int]]) -> tuple[KeyPart, ...] | None:
    """The sort key in a token whose parts have these types; None for the empty token of the first page.

    Raises InvalidArgumentError (PAGE_TOKEN_INVALID) for anything that `write_token` does not make with such parts.
    """
    if not token:
        return None
    key = _unpack(token)
    fits = isinstance(key, list) and len(key) == len(types)
    if not fits or not all(type(part) is wanted and _is_storable(part) for part, wanted in zip(key, types, strict=True)):
        raise invalid_token()
    return tuple(key)


def position_token(time: dt.datetime, id: str) -> str:
    """The token of a listing ordered by time and id, after the row with these."""
    return write_token((time - _EPOCH) // _MICROSECOND, id)


def position_of(token: str) -> tuple[dt.datetime, str] | None:
    """The time and id, a UUID, of a token; None for the first page. Raises InvalidArgumentError (PAGE_TOKEN_INVALID)."""
    key = read_token(token, (int, str))
    if key is None:
        return None
    micros, last_id = int(key[0]), str(key[1])
    if canonical_uuid(last_id) is None:
        raise invalid_token()
    try:
        return _EPOCH + micros * _MICROSECOND, last_id
    except OverflowError:
        raise invalid_token() from None


def offset_token(offset: int) -> str:
    """The token of a listing by number, after the item with this one."""
    return write_token(offset)


def offset_of(token: str) -> int:
    """The number of a token, 0 for the first page. Raises InvalidArgumentError (PAGE_TOKEN_INVALID)."""
    key = read_token(token, (int,))
    offset = 0 if key is None else int(key[0])
    if not 0 <= offset <= _MAX_OFFSET:
        raise invalid_token()
    return offset


def turn_token(after: int, before: int) -> str:
    """The token of a listing that goes either way: what is after one number and before another; 0 for on to the end."""
    return write_token(after, before)


def turn_of(token: str) -> tuple[int, int] | None:
    """Both numbers of a token; None for the first page. Raises InvalidArgumentError (PAGE_TOKEN_INVALID)."""
    key = read_token(token, (int, int))
    if key is None:
        return None
    after, before = int(key[0]), int(key[1])
    if not (0 <= after <= _MAX_OFFSET and 0 <= before <= _MAX_OFFSET):
        raise invalid_token()
    return after, before


def invalid_token() -> InvalidArgumentError:
    """The error for a token that is not ours, or of a row that is not there."""
    violation = Violation("page_token", "must be the next_page_token of an earlier page")
    return InvalidArgumentError("page_token is not one of ours.", reason="PAGE_TOKEN_INVALID", violations=[violation])


def _unpack(token: str) -> list[KeyPart]:
    if not _TOKEN.fullmatch(token):
        raise invalid_token()
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        key: list[KeyPart] = orjson.loads(text)
    except (binascii.Error, ValueError):
        raise invalid_token() from None
    # One key has one token: what decodes to the same in another spelling is not ours.
    if not isinstance(key, list) or write_token(*key) != token:
        raise invalid_token()
    return key


def _is_storable(part: KeyPart) -> bool:
    """Whether PostgreSQL has a text or bigint for it."""
    return "\0" not in part if isinstance(part, str) else -(2**63) <= part < 2**63
