"""Page tokens of this service: opaque to callers, checked when they come back."""

import base64
import binascii
from datetime import UTC, datetime, timedelta

from mesh.errors import InvalidArgumentError, Violation
from mesh.ids import canonical_uuid

DEFAULT_PAGE_SIZE = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_VERSION = (1 << 31) - 1


def graph_token(update_time: datetime, graph_id: str) -> str:
    """The token after the graph with these, in a list by last change."""
    return _encoded(f"g/{(update_time - _EPOCH) // timedelta(microseconds=1)}/{graph_id}")


def graph_position(token: str) -> tuple[datetime, str] | None:
    """What `graph_token` was made of; None for the first page. Raises InvalidArgumentError (PAGE_TOKEN_INVALID)."""
    if not token:
        return None
    kind, _, rest = _decoded(token).partition("/")
    micros, _, graph_id = rest.partition("/")
    if kind != "g" or not micros.isdecimal() or canonical_uuid(graph_id) is None:
        raise _invalid()
    try:
        return _EPOCH + timedelta(microseconds=int(micros)), graph_id
    except OverflowError:
        raise _invalid() from None


def version_token(version: int) -> str:
    """The token after a version, in a list from the newest."""
    return _encoded(f"v/{version}")


def version_position(token: str) -> int | None:
    """The version of the token; None for the first page. Raises InvalidArgumentError (PAGE_TOKEN_INVALID)."""
    if not token:
        return None
    kind, _, number = _decoded(token).partition("/")
    if kind != "v" or not number.isdecimal() or len(number) > len(str(_MAX_VERSION)) or int(number) > _MAX_VERSION:
        raise _invalid()
    return int(number)


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(token: str) -> str:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise _invalid() from None


def _invalid() -> InvalidArgumentError:
    violation = Violation("page_token", "must be a next_page_token of this method")
    return InvalidArgumentError("The page token is not one of ours.", reason="PAGE_TOKEN_INVALID", violations=[violation])
