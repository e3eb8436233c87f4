"""How inputs are prepared and blocks run."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from services.block.sdk import (
    Block,
    BlockContext,
    BlockError,
    BlockInput,
    BlockOutput,
    BlockOutputError,
    BlockRegistry,
    BlockResult,
    Effect,
    pin,
)
from services.block.sdk.inputs import NotReady, Prepared, input_plan
from services.block.sdk.run import Suspended, never_awaits, run_block, run_now

CTX = BlockContext()


class SumBlock(Block):
    """Adds up."""

    id = "sum"
    effect = Effect.PURE

    class Input(BlockInput):
        """Numbers."""

        values: list[int] = pin(description="Numbers")
        start: float = pin(0.0, description="Where to start")

    class Output(BlockOutput):
        """Sum."""

        total: float = pin(description="Sum")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Adds up."""
        yield "total", sum(input.values, input.start)


class OddBlock(Block):
    """Does what its input says."""

    id = "odd"

    class Input(BlockInput):
        """What to do."""

        what: str = pin(description="What to do")

    class Output(BlockOutput):
        """Something."""

        number: int = pin(description="A number")
        anything: Any = pin(description="Anything")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Emits once, then misbehaves."""
        yield "number", 1
        match input.what:
            case "wait":
                await asyncio.sleep(0)
                yield "number", 2
            case "mistyped":
                yield "number", "x"
            case "unknown":
                yield "nowhere", 1
            case "error":
                yield "error", "gave up"
                yield "number", 2
            case "raise":
                raise KeyError
            case "rich":
                yield "anything", {"at": (1, 2), 3: {"x"}}
            case "strange":
                yield "anything", object()
            case "infinite":
                yield "anything", float("inf")


def prepared(constants: dict[str, Any], arrived: dict[str, Any], linked: set[str]) -> Prepared | NotReady:
    return input_plan(SumBlock()).prepare(constants, arrived, frozenset(linked))


def test_a_constant_does_not_stand_in_for_a_linked_pin() -> None:
    found = prepared({"values": [1]}, {}, {"values"})
    assert isinstance(found, NotReady)
    assert found.missing == ("values",)


def test_a_null_counts_as_arrived_but_cannot_fill_a_required_pin() -> None:
    found = prepared({}, {"values": None}, {"values"})
    assert isinstance(found, NotReady)
    assert found.missing == ("values",)


def test_dynamic_pins_extend_constants_and_are_converted() -> None:
    constants = {"values": ["1"], "start": "2"}
    found = prepared(constants, {"values_$_1": 2.9}, {"values_$_1"})
    assert found == Prepared({"values": [1, 2], "start": 2.0, "values_$_1": 2.9})
    assert constants == {"values": ["1"], "start": "2"}


def test_a_truth_value_is_no_integer() -> None:
    found = prepared({"values": [True]}, {}, set())
    assert isinstance(found, NotReady)
    assert "values" in found.reason


def test_a_bad_index_is_a_reason_not_a_crash() -> None:
    found = prepared({"values_$_x": 1}, {}, set())
    assert isinstance(found, NotReady)
    assert "index" in found.reason


def test_run_now_needs_no_event_loop_and_a_null_means_the_default() -> None:
    assert list(run_now(SumBlock(), {"values": [1, 2], "start": None}, CTX)) == [("total", 3.0)]


async def test_run_now_stops_at_a_wait_without_a_trace() -> None:
    found = run_now(OddBlock(), {"what": "wait"}, CTX)
    assert next(found) == ("number", 1)
    with pytest.raises(Suspended):
        next(found)
    assert [item async for item in run_block(OddBlock(), {"what": "wait"}, CTX)] == [("number", 1), ("number", 2)]


def test_only_a_generator_without_any_await_is_sure_never_to_await() -> None:
    class Listening(SumBlock):
        async def run(self, input: SumBlock.Input, ctx: BlockContext) -> BlockResult:
            async for output in super().run(input, ctx):
                yield output

    class Locking(SumBlock):
        async def run(self, input: SumBlock.Input, ctx: BlockContext) -> BlockResult:
            async with asyncio.Lock():
                yield "total", 0

    class Handing(SumBlock):
        def run(self, input: SumBlock.Input, ctx: BlockContext) -> BlockResult:
            return super().run(input, ctx)

    assert never_awaits(SumBlock)
    assert not any(never_awaits(block) for block in (OddBlock, Listening, Locking, Handing))


@pytest.mark.parametrize(
    ("what", "message", "kind"),
    [
        ("mistyped", "number", "BlockOutputError"),
        ("unknown", "nowhere", "BlockOutputError"),
        ("error", "gave up", "BlockError"),
        ("raise", "KeyError", "KeyError"),
        ("strange", "object", "BlockOutputError"),
    ],
)
async def test_what_came_before_a_failure_stands(what: str, message: str, kind: str) -> None:
    outputs: list[tuple[str, Any]] = []

    async def collect() -> None:
        async for item in run_block(OddBlock(), {"what": what}, CTX):
            outputs.append(item)  # noqa: PERF401 - what came before the failure counts

    with pytest.raises(BlockError, match=message) as failure:
        await collect()
    assert failure.value.kind == kind
    assert outputs == [("number", 1)]


def test_outputs_are_plain_json() -> None:
    assert list(run_now(OddBlock(), {"what": "rich"}, CTX))[1] == ("anything", {"at": [1, 2], "3": ["x"]})
    assert list(run_now(OddBlock(), {"what": "infinite"}, CTX))[1] == ("anything", None)


def test_a_mutable_output_is_a_copy() -> None:
    registry = BlockRegistry.installed()
    block = registry.get("b924ddf4-de4f-4b56-9a85-358930dcbc91")
    assert block is not None
    values = {"a": [1]}
    [(_, made)] = run_now(block, {"values": values}, CTX)
    made["a"].append(2)
    assert values == {"a": [1]}


def test_a_block_that_is_not_sound_disables_only_itself() -> None:
    class Broken(Block):
        """Its output pin has a type without a schema."""

        id = "broken"

        class Output(BlockOutput):
            """Nonsense."""

            f: Callable[[], int] = pin()

    class Thief(SumBlock):
        """Takes another block's id."""

    registry = BlockRegistry([SumBlock, Broken, Thief])
    assert [block.name for block in registry.all()] == ["SumBlock"]
    assert len(registry.broken) == 2


def test_the_output_check_accepts_what_json_cannot_tell_apart() -> None:
    class Counter(OddBlock):
        """A float that is whole is an integer."""

        id = "counter"

        async def run(self, input: OddBlock.Input, ctx: BlockContext) -> BlockResult:
            """Emits 2.0."""
            yield "number", 2.0

    assert list(run_now(Counter(), {"what": ""}, CTX)) == [("number", 2.0)]
    assert issubclass(BlockOutputError, BlockError)


async def test_a_block_is_cleaned_up_when_its_caller_stops_early() -> None:
    ended: list[str] = []

    class Careful(OddBlock):
        """Cleans up."""

        id = "careful"

        async def run(self, input: OddBlock.Input, ctx: BlockContext) -> BlockResult:
            """Emits twice."""
            try:
                yield "number", 1
                yield "number", 2
            finally:
                await asyncio.sleep(0)
                ended.append("yes")

    outputs = run_block(Careful(), {"what": ""}, CTX)
    assert await anext(outputs) == ("number", 1)
    await outputs.aclose()
    assert ended == ["yes"]


@pytest.mark.parametrize("pin_name", ["dictionary", "entries"])
def test_a_list_is_no_dictionary_where_keys_may_be_anything(pin_name: str) -> None:
    block = BlockRegistry.installed().get("31d1064e-7446-4693-a7d4-65e5ca1180d1")
    assert block is not None
    found = input_plan(block).prepare({pin_name: [1, 2]}, {})
    assert isinstance(found, Prepared)
    with pytest.raises(BlockError, match="Dict key must be str"):
        list(run_now(block, found.data, BlockContext()))
    assert list(run_now(block, {pin_name: {"1": 2}}, BlockContext())) == [("updated_dictionary", {"1": 2})]


def test_the_reason_is_about_the_model_that_was_meant() -> None:
    block = BlockRegistry.installed().get("a892b8d9-3e4e-4e9c-9c1e-75f8efcf1bfa")
    assert block is not None
    found = input_plan(block).prepare({"trigger": "t", "format_type": {"discriminator": "iso8601", "timezone": "Mars/Base"}}, {})
    assert isinstance(found, NotReady)
    assert "there is no time zone Mars/Base" in found.reason
