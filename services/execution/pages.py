"""Page tokens of the execution service: opaque to callers, checked when they come back."""

import base64
import binascii
import datetime as dt

from mesh.errors import InvalidArgumentError, Violation
from mesh.ids import canonical_uuid

# Whole microseconds: through a float the last one would get lost, and with it a row.
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def position_token(time: dt.datetime, id: str) -> str:
    """The token of a listing ordered by time and id, after the row with these."""
    return _encode(f"{(time - _EPOCH) // _MICROSECOND}/{id}")


def position_of(token: str) -> tuple[dt.datetime, str] | None:
    """The time and id of a token; None for the first page. Raises InvalidArgumentError (PAGE_TOKEN_INVALID)."""
    if not token:
        return None
    micros, _, last_id = _decode(token).partition("/")
    if not micros.isdecimal() or canonical_uuid(last_id) is None:
        raise _invalid()
    try:
        return _EPOCH + int(micros) * _MICROSECOND, last_id
    except (OverflowError, ValueError):
        raise _invalid() from None


def offset_token(offset: int) -> str:
    """The token of a listing by number, after the item with this one."""
    return _encode(str(offset))


def offset_of(token: str) -> int:
    """The number of a token. Raises InvalidArgumentError (PAGE_TOKEN_INVALID)."""
    text = _decode(token)
    if not text.isdecimal() or int(text) >= 1 << 31:
        raise _invalid()
    return int(text)


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(token: str) -> str:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise _invalid() from None


def _invalid() -> InvalidArgumentError:
    violation = Violation("page_token", "must be a next_page_token of this method")
    return InvalidArgumentError("The page token is not one of ours.", reason="PAGE_TOKEN_INVALID", violations=[violation])
