"""Where the next page starts: a row by time and id, or an item by number."""

import datetime as dt

from mesh.errors import InvalidArgumentError, Violation
from mesh.ids import canonical_uuid
from mesh.paging import read_token, write_token

# Whole microseconds: through a float the last one would get lost, and with it a row.
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_MAX_OFFSET = (1 << 31) - 1


def position_token(time: dt.datetime, id: str) -> str:
    """The token of a listing ordered by time and id, after the row with these."""
    return write_token((time - _EPOCH) // _MICROSECOND, id)


def position_of(token: str) -> tuple[dt.datetime, str] | None:
    """The time and id of a token; None for the first page. Raises InvalidArgumentError (PAGE_TOKEN_INVALID)."""
    key = read_token(token, (int, str))
    if key is None:
        return None
    micros, last_id = int(key[0]), str(key[1])
    if canonical_uuid(last_id) is None:
        raise _invalid()
    try:
        return _EPOCH + micros * _MICROSECOND, last_id
    except OverflowError:
        raise _invalid() from None


def offset_token(offset: int) -> str:
    """The token of a listing by number, after the item with this one."""
    return write_token(offset)


def offset_of(token: str) -> int:
    """The number of a token, 0 for the first page. Raises InvalidArgumentError (PAGE_TOKEN_INVALID)."""
    key = read_token(token, (int,))
    offset = 0 if key is None else int(key[0])
    if not 0 <= offset <= _MAX_OFFSET:
        raise _invalid()
    return offset


def _invalid() -> InvalidArgumentError:
    violation = Violation("page_token", "must be the next_page_token of an earlier page")
    return InvalidArgumentError("page_token is not one of ours.", reason="PAGE_TOKEN_INVALID", violations=[violation])
