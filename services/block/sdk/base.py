"""The class that every block extends, and its pins."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from services.block.sdk.context import BlockContext
from services.block.sdk.kinds import BlockType, Category, Effect
from services.block.sdk.waits import Wait

BlockResult: TypeAlias = AsyncIterator[tuple[str, Any]]
_REQUIRED: Any = ...


def pin(
    default: Any = _REQUIRED,
    *,
    description: str = "",
    default_factory: Callable[[], Any] | None = None,
    title: str | None = None,
    placeholder: str | None = None,
    alias: str | None = None,
    advanced: bool | None = None,
    secret: bool = False,
    hidden: bool = False,
    format: str | None = None,
    **constraints: Any,
) -> Any:
    """Declares a pin. Without a default an input pin is required.

    `advanced` (unless said, true for pins with a default), `secret` and `hidden` are hints for editors; `alias` is the pin's name where it
    cannot be the field's; `format` is that of JSON Schema (`file` for references to files); `constraints` are those of `pydantic.Field`
    (`ge`, `max_length`, …).
    """
    is_required = default is _REQUIRED and default_factory is None
    extra: dict[str, Any] = {"secret": secret, "advanced": not is_required if advanced is None else advanced}
    if hidden:
        extra["hidden"] = True
    if format is not None:
        extra["format"] = format
    if placeholder is not None:
        extra["placeholder"] = placeholder
    if default_factory is not None:
        constraints["default_factory"] = default_factory
        made = default_factory()
        # JSON Schema shows a default only where it is told of it.
        extra["default"] = made.model_dump(mode="json") if isinstance(made, BaseModel) else made
    else:
        constraints["default"] = default
    if alias is not None:
        constraints["alias"] = alias
    return Field(description=description or None, title=title, json_schema_extra=extra, **constraints)


class PinModel(BaseModel):
    """A set of pins; one field per pin."""

    model_config = ConfigDict(arbitrary_types_allowed=False, populate_by_name=True, extra="ignore", protected_namespaces=())


class BlockInput(PinModel):
    """The input pins of a block."""


class BareOutput(PinModel):
    """Output pins of a block that has no `error` pin (agent inputs and outputs)."""


class BlockOutput(PinModel):
    """The output pins of a block. Every block has `error`; emitting it fails the firing."""

    error: str = pin(description="Why the block failed")


@dataclass(frozen=True, slots=True)
class Vector:
    """An example that is also a test: `input` by pin, then `outputs` in order, or `error`, a part of the message it fails with."""

    input: dict[str, Any]
    outputs: Sequence[tuple[str, Any]] = ()
    error: str = ""
    # What the outputs are compared by: False where they depend on time or chance.
    is_exact: bool = True
    # It cannot run without the outside world; it only shows what a dry run may emit.
    needs_network: bool = False


class Block:
    """A kind of node. Subclasses set the attributes, `Input`, `Output` and `run`; the docstring is the description in the catalogue.

    One instance serves all firings at the same time, so a block keeps no state on `self`.
    """

    id: ClassVar[str] = ""
    block_type: ClassVar[BlockType] = BlockType.STANDARD
    categories: ClassVar[tuple[Category, ...]] = ()
    effect: ClassVar[Effect] = Effect.EFFECTFUL
    # Links that leave the block are static: their value is kept for later firings.
    static_output: ClassVar[bool] = False
    # Cannot be used in new graphs.
    is_disabled: ClassVar[bool] = False
    # Passes `ctx.idempotency_key` on to where its effect happens, so a firing that was cut off may be run again.
    uses_idempotency_key: ClassVar[bool] = False
    # It may have to wait before it runs: `wait_for` is asked.
    may_wait: ClassVar[bool] = False
    # After each `run` that had an answer, `wait_for` is asked again; the firing ends when it says None.
    waits_again: ClassVar[bool] = False
    # The input pin whose values are gathered until no more can come; the block runs once with the list of them.
    gathers: ClassVar[str] = ""
    vectors: ClassVar[tuple[Vector, ...]] = ()

    Input: ClassVar[type[PinModel]] = BlockInput
    Output: ClassVar[type[PinModel]] = BlockOutput

    @property
    def name(self) -> str:
        """Class name, such as `CalculatorBlock`."""
        return type(self).__name__

    @property
    def description(self) -> str:
        """What the block does, in a sentence or two."""
        return " ".join((type(self).__doc__ or "").split())

    def wait_for(self, input: Any, ctx: BlockContext) -> Wait | None:
        """What a firing waits for before `run`; None when it need not. Asked only when `may_wait`, at least once: it must depend on nothing
        but its arguments. Raise BlockError (or any ValueError) to fail.
        """
        return None

    async def run(self, input: Any, ctx: BlockContext) -> BlockResult:
        """Yields `(pin, value)` any number of times. Raise BlockError (or any ValueError) to fail; values that were yielded stand."""
        # Every block has its own; the yield only makes this a generator, as theirs are.
        raise NotImplementedError(f"{self.name} has no run")
        yield "", None
