"""The JSON forms of values that JSON has no type for: times, durations, field masks, 64-bit integers, bytes.

Each form is a class whose instances are what a message constructor takes, so that a decoded value needs no further step.
"""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Self

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
_MASK_PATH = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)
_URL_SAFE = str.maketrans("-_", "+/")
# The range of google.protobuf.Duration: about 10,000 years.
_MAX_DURATION_S = 315_576_000_000
_MILLI, _MICRO = 1_000_000, 1_000


class TimeForm(dict[str, int]):
    """RFC 3339 with an offset or Z, up to nanoseconds."""

    wanted = "an RFC 3339 time such as 2026-01-31T12:00:00Z"

    @classmethod
    def read(cls, value: Any) -> Self:
        """Raises ValueError."""
        match = _TIME.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(cls.wanted)
        day, clock, fraction, sign, hours, minutes = match.groups()
        try:
            moment = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC)
            if sign:
                offset = timedelta(hours=int(hours), minutes=int(minutes))
                moment = moment.replace(tzinfo=timezone(offset if sign == "+" else -offset)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError(cls.wanted) from None
        since = moment - _EPOCH
        return cls(seconds=since.days * 86400 + since.seconds, nanos=int((fraction or "0").ljust(9, "0")))


class DurationForm(dict[str, int]):
    """Seconds with the suffix s: `5s`, `0.25s`."""

    wanted = 'a duration in seconds such as "1.5s"'

    @classmethod
    def read(cls, value: Any) -> Self:
        """Raises ValueError."""
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None or int(match[2]) > _MAX_DURATION_S:
            raise ValueError(cls.wanted)
        sign = -1 if match[1] else 1
        return cls(seconds=sign * int(match[2]), nanos=sign * int((match[3] or "0").ljust(9, "0")))


class MaskForm(dict[str, list[str]]):
    """Field paths in snake_case, separated by commas."""

    wanted = 'field paths such as "display_name,timezone"'

    @classmethod
    def read(cls, value: Any) -> Self:
        """Raises ValueError."""
        if not isinstance(value, str):
            raise ValueError(cls.wanted)  # noqa: TRY004 - the caller turns ValueError into a violation
        paths = value.split(",") if value else []
        if not all(map(_MASK_PATH.fullmatch, paths)):
            raise ValueError(cls.wanted)
        return cls(paths=paths)


class Int64Form(int):
    """A signed 64-bit integer, as a number or, for readers that lose digits, a string."""

    wanted = "a 64-bit integer, as a number or a string"
    lowest, highest = -(2**63), 2**63 - 1

    @classmethod
    def read(cls, value: Any) -> Self:
        """Raises ValueError."""
        is_text = isinstance(value, str) and _INTEGER.fullmatch(value) is not None
        if not is_text and (not isinstance(value, int) or isinstance(value, bool)):
            raise ValueError(cls.wanted)
        number = cls(value)
        if not cls.lowest <= number <= cls.highest:
            raise ValueError(cls.wanted)
        return number


class UInt64Form(Int64Form):
    """An unsigned 64-bit integer."""

    wanted = "an unsigned 64-bit integer, as a number or a string"
    lowest, highest = 0, 2**64 - 1


class BytesForm(bytes):
    """Base64, standard or URL-safe, with or without padding; nothing else in the text."""

    wanted = "base64 text"

    @classmethod
    def read(cls, value: Any) -> Self:
        """Raises ValueError."""
        if not isinstance(value, str):
            raise ValueError(cls.wanted)  # noqa: TRY004 - the caller turns ValueError into a violation
        text = value.rstrip("=").translate(_URL_SAFE)
        try:
            return cls(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
        except (binascii.Error, ValueError):
            raise ValueError(cls.wanted) from None


Form = type[TimeForm] | type[DurationForm] | type[MaskForm] | type[Int64Form] | type[BytesForm]


def write_time(seconds: int, nanos: int) -> str:
    """A timestamp as RFC 3339 in UTC with 0, 3, 6 or 9 digits of fraction."""
    return f"{_second(seconds)}{_fraction(nanos)}Z"


def write_duration(seconds: int, nanos: int) -> str:
    """A duration as seconds with the suffix s."""
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}{_fraction(abs(nanos))}s"


def write_bytes(value: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(value).decode()


# Events of a page share their seconds; the calendar is the dear part.
@lru_cache(4096)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def _fraction(nanos: int) -> str:
    if nanos == 0:
        return ""
    if nanos % _MILLI == 0:
        return f".{nanos // _MILLI:03d}"
    if nanos % _MICRO == 0:
        return f".{nanos // _MICRO:06d}"
    return f".{nanos:09d}"
