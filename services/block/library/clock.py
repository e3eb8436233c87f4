"""Time and dates."""

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, Field

from services.block.sdk import (
    Block,
    BlockContext,
    BlockError,
    BlockInput,
    BlockOutput,
    BlockResult,
    Category,
    Effect,
    Timer,
    Vector,
    Wait,
    pin,
)

MAX_WAIT_S = 24 * 3600
MAX_REPEATS = 10_000


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name}") from None
    return name


Zone = Annotated[str, AfterValidator(_known_zone)]


class StrftimeFormat(BaseModel):
    """A format with the directives of `strftime`."""

    discriminator: Literal["strftime"] = "strftime"
    format: str = Field("%Y-%m-%d %H:%M:%S", description="Text with directives such as %Y or %H", max_length=1000)
    timezone: Zone = Field("UTC", description="IANA name of a time zone")
    use_user_timezone: bool = Field(False, description="Use the user's own time zone instead")

    def text(self, moment: dt.datetime, _iso: Callable[[dt.datetime], str]) -> str:
        """The moment in this format."""
        return moment.strftime(self.format)


class TimeFormat(StrftimeFormat):
    """As StrftimeFormat, for a time of day."""

    format: str = Field("%H:%M:%S", description="Text with directives such as %H", max_length=1000)


class DateFormat(StrftimeFormat):
    """As StrftimeFormat, for a date."""

    format: str = Field("%Y-%m-%d", description="Text with directives such as %Y", max_length=1000)


class IsoFormat(BaseModel):
    """The format of ISO 8601."""

    discriminator: Literal["iso8601"]
    timezone: Zone = Field("UTC", description="IANA name of a time zone")
    use_user_timezone: bool = Field(False, description="Use the user's own time zone instead")
    include_microseconds: bool = Field(False, description="Write fractions of a second")

    def text(self, moment: dt.datetime, iso: Callable[[dt.datetime], str]) -> str:
        """The moment in this format; `iso` writes the part of it that the block is about."""
        return iso(moment if self.include_microseconds else moment.replace(microsecond=0))


def _now(format_type: StrftimeFormat | IsoFormat, ctx: BlockContext) -> dt.datetime:
    name = (ctx.timezone or "UTC") if format_type.use_user_timezone else format_type.timezone
    return dt.datetime.now(tz=ZoneInfo(name))


def _iso_time(moment: dt.datetime) -> str:
    # The time part of the whole moment: a time alone does not know its offset from UTC.
    return moment.isoformat().partition("T")[2]


class GetCurrentTimeBlock(Block):
    """Gives the time of day."""

    id = "a892b8d9-3e4e-4e9c-9c1e-75f8efcf1bfa"
    categories = (Category.TEXT,)
    effect = Effect.IDEMPOTENT

    class Input(BlockInput):
        """A trigger and the format."""

        trigger: str = pin(description="Any value starts the block")
        format_type: TimeFormat | IsoFormat = pin(
            default_factory=TimeFormat, description="How to write the time", discriminator="discriminator"
        )

    class Output(BlockOutput):
        """The time."""

        time: str = pin(description="The time of day")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        yield "time", input.format_type.text(_now(input.format_type, ctx), _iso_time)

    vectors = (Vector(input={"trigger": "t", "format_type": {"discriminator": "strftime", "format": "%%"}}, outputs=[("time", "%")]),)


class GetCurrentDateBlock(Block):
    """Gives today's date, or a date some days before it."""

    id = "b29c1b50-5d0e-4d9f-8f9d-1b0e6fcbf0b1"
    categories = (Category.TEXT,)
    effect = Effect.IDEMPOTENT

    class Input(BlockInput):
        """A trigger, the offset and the format."""

        trigger: str = pin(description="Any value starts the block")
        offset: int | str = pin(0, description="Days before today; negative for later ones")
        format_type: DateFormat | IsoFormat = pin(
            default_factory=DateFormat, description="How to write the date", discriminator="discriminator"
        )

    class Output(BlockOutput):
        """The date."""

        date: str = pin(description="The date")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """An offset that is no number counts as 0. Fails when the date is out of range."""
        try:
            days = int(input.offset)
        except ValueError:
            days = 0
        try:
            moment = _now(input.format_type, ctx) - dt.timedelta(days=days)
        except OverflowError:
            raise BlockError(f"There is no date {days} days before today") from None
        yield "date", input.format_type.text(moment, lambda moment: moment.date().isoformat())

    vectors = (Vector(input={"trigger": "t", "format_type": {"discriminator": "strftime", "format": "x"}}, outputs=[("date", "x")]),)


class GetCurrentDateAndTimeBlock(Block):
    """Gives the date and time of day."""

    id = "716a67b3-6760-42e7-86dc-18645c6e00fc"
    categories = (Category.TEXT,)
    effect = Effect.IDEMPOTENT

    class Input(BlockInput):
        """A trigger and the format."""

        trigger: str = pin(description="Any value starts the block")
        format_type: StrftimeFormat | IsoFormat = pin(
            default_factory=StrftimeFormat, description="How to write date and time", discriminator="discriminator"
        )

    class Output(BlockOutput):
        """The date and time."""

        date_time: str = pin(description="The date and time of day")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        yield "date_time", input.format_type.text(_now(input.format_type, ctx), lambda moment: moment.isoformat())

    vectors = (Vector(input={"trigger": "t", "format_type": {"discriminator": "strftime", "format": "x"}}, outputs=[("date_time", "x")]),)


class CountdownTimerBlock(Block):
    """Waits, then emits a message; as often as asked for, up to a day in all."""

    id = "d67a9c52-5e4e-11e2-bcfd-0800200c9a71"
    categories = (Category.TEXT,)
    effect = Effect.PURE
    may_wait = True
    waits_again = True

    class Input(BlockInput):
        """The message, the time to wait and how often."""

        input_message: Any = pin("timer finished", description="What to emit", advanced=False)
        seconds: int | str = pin(0, description="Seconds to wait", advanced=False)
        minutes: int | str = pin(0, description="Minutes to wait", advanced=False)
        hours: int | str = pin(0, description="Hours to wait", advanced=False)
        days: int | str = pin(0, description="Days to wait", advanced=False)
        repeat: int = pin(1, description="How often to wait and emit")

    class Output(BlockOutput):
        """The message."""

        output_message: Any = pin(description="The message, after each wait")

    def wait_for(self, input: Input, ctx: BlockContext) -> Wait | None:
        """Fails for times that are no whole numbers, for more than MAX_REPEATS repeats and more than MAX_WAIT_S seconds in all."""
        wait_s = self._wait_s(input)
        return Timer(wait_s) if wait_s > 0 and ctx.waits < input.repeat else None

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """The message once after each wait; as often as wanted when there is nothing to wait for."""
        for _ in range(1 if ctx.waits else input.repeat):
            yield "output_message", input.input_message

    def _wait_s(self, input: Input) -> int:
        wait_s = 0
        for name, unit_s in (("seconds", 1), ("minutes", 60), ("hours", 3600), ("days", 86400)):
            try:
                wait_s += int(getattr(input, name)) * unit_s
            except ValueError:
                raise BlockError(f"{name} is not a whole number: {getattr(input, name)!r}") from None
        if input.repeat > MAX_REPEATS or wait_s * input.repeat > MAX_WAIT_S:
            raise BlockError(f"The timer may repeat {MAX_REPEATS} times and wait {MAX_WAIT_S} seconds in all")
        return wait_s

    vectors = (
        Vector(input={"repeat": 2, "input_message": "m"}, outputs=[("output_message", "m"), ("output_message", "m")]),
        Vector(input={"days": 3}, error="may repeat"),
    )
