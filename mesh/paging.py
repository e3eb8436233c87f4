"""Opaque page tokens: where the next page starts, as the repository's own sort key.

A token is not secret and not signed: it only ever narrows a query that is bound to the caller anyway. It is checked strictly, so that a
forged one is refused and never reaches SQL with a value of the wrong type.
"""

import base64
import binascii
import re
from collections.abc import Sequence

import orjson

from mesh.errors import InvalidArgumentError, Violation

# A part of a sort key. Times travel as text.
KeyPart = str | int

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
        raise _invalid()
    return tuple(key)


def _unpack(token: str) -> list[KeyPart]:
    if not _TOKEN.fullmatch(token):
        raise _invalid()
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        key: list[KeyPart] = orjson.loads(text)
    except (binascii.Error, ValueError):
        raise _invalid() from None
    # One key has one token: what decodes to the same in another spelling is not ours.
    if not isinstance(key, list) or write_token(*key) != token:
        raise _invalid()
    return key


def _is_storable(part: KeyPart) -> bool:
    """Whether PostgreSQL has a text or bigint for it."""
    return "\0" not in part if isinstance(part, str) else -(2**63) <= part < 2**63


def _invalid() -> InvalidArgumentError:
    violation = Violation("page_token", "must be the next_page_token of an earlier page")
    return InvalidArgumentError("page_token is not one of ours.", reason="PAGE_TOKEN_INVALID", violations=[violation])
