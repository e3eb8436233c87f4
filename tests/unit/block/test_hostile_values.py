"""Values that are deep, endless, not finite or no text at all: a clear error or a sound value, never a crash."""

import asyncio
import json
import math
import time
from typing import Any

import pytest

from services.block.library.support.http_client import _text as decoded
from services.block.sdk import Block, BlockContext, BlockError, BlockInput, BlockOutput, BlockRegistry, BlockResult, Effect, pin
from services.block.sdk.inputs import NotReady, Prepared, input_plan
from services.block.sdk.jsonread import read_json
from services.block.sdk.outputs import jsonable
from services.block.sdk.pins import merge_inputs
from services.block.sdk.run import MAX_ERROR_CHARS, run_block
from services.block.trial import try_block

BLOCKS = {block.name: block for block in BlockRegistry.installed().all()}
DEEP_LISTS = [f"{'[' * depth}{']' * depth}" for depth in (101, 900, 2_000, 50_000)]
DEEP_OBJECTS = ['{"a":' * depth + "1" + "}" * depth for depth in (101, 900, 2_000, 50_000)]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def outputs(name: str, **inputs: Any) -> list[tuple[str, Any]]:
    prepared = input_plan(BLOCKS[name]).prepare(inputs, {})
    assert isinstance(prepared, Prepared), prepared

    async def run() -> list[tuple[str, Any]]:
        return [item async for item in run_block(BLOCKS[name], prepared.data, BlockContext())]

    return asyncio.run(run())


@pytest.mark.parametrize("text", [*DEEP_LISTS, *DEEP_OBJECTS], ids=len)
def test_json_text_that_nests_too_deep_breaks_no_pin(text: str) -> None:
    for block in BLOCKS.values():
        plan = input_plan(block)
        for name, info in block.Input.model_fields.items():
            data = dict.fromkeys(plan.required, 1) | {info.alias or name: text}
            assert isinstance(plan.prepare(data, {}), NotReady | Prepared)


@pytest.mark.parametrize("text", DEEP_LISTS, ids=len)
def test_the_reason_names_the_pin_and_the_limit(text: str) -> None:
    found = input_plan(BLOCKS["CreateListBlock"]).prepare({"values": text}, {})
    assert found == NotReady("values: nests deeper than 100 levels")


@pytest.mark.parametrize(("name", "pin_name"), [("JSONDecoderBlock", "json_str"), ("StepThroughItemsBlock", "items_str")])
@pytest.mark.parametrize("text", DEEP_LISTS, ids=len)
def test_deep_json_text_fails_the_block(name: str, pin_name: str, text: str) -> None:
    with pytest.raises(BlockError, match="deeper than 100 levels"):
        outputs(name, **{pin_name: text})


def test_values_may_nest_a_hundred_levels_and_no_more() -> None:
    assert jsonable(nested(100)) == nested(100)
    with pytest.raises(BlockError, match="deeper than 100 levels"):
        jsonable(nested(101))
    with pytest.raises(BlockError, match="deeper than 100 levels"):
        outputs("CreateListBlock", values=[nested(100)])


def test_a_path_in_a_pin_may_not_nest_deeper() -> None:
    with pytest.raises(ValueError, match="more than 50 steps"):
        merge_inputs({"d" + "_#_k" * 51: 1})
    assert isinstance(input_plan(BLOCKS["CreateDictionaryBlock"]).prepare({"values" + "_$_0" * 240: 1}, {}), NotReady)


@pytest.mark.parametrize("value", [[math.nan], {"a": math.inf}, [[1.5, -math.inf]], {"a": [math.nan, 1]}])
def test_what_is_not_finite_is_null_at_every_depth(value: Any) -> None:
    assert json.loads(json.dumps(jsonable(value), allow_nan=False)) == jsonable(value)


def test_text_that_is_no_json_stays_text() -> None:
    assert outputs("UniversalTypeConverterBlock", value="NaN", type="dictionary") == [("value", {"value": "NaN"})]
    assert outputs("UniversalTypeConverterBlock", value="[NaN]", type="list") == [("value", ["[NaN]"])]
    assert outputs("UniversalTypeConverterBlock", value='["\\ud800"]', type="list") == [("value", ['["\\ud800"]'])]


@pytest.mark.parametrize("text", ['["\\ud800", 12345678901234567890123]', "9" * 5_000, "[1e999]", "NaN"])
def test_json_text_that_could_not_be_sent_on_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


def test_long_integers_in_text_are_exact() -> None:
    assert read_json("[18446744073709551617, 1.5]") == [18446744073709551617, 1.5]


class Emits(Block):
    """Emits what no JSON can hold."""

    id = "emits"
    effect = Effect.PURE

    class Input(BlockInput):
        value: Any = pin(description="v")

    class Output(BlockOutput):
        value: Any = pin(description="v")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        yield "value", {"half": "\ud800", "long": 10**5_000, "error": "x" * 100_000}[input.value]


@pytest.mark.parametrize("value", ["half", "long"])
async def test_a_trial_run_of_a_block_that_emits_no_json_says_so(value: str) -> None:
    trial = await try_block(Emits(), {"value": value}, BlockContext(), 5)
    assert trial.error == "the value on pin value cannot be written as JSON"
    assert trial.outputs == []


async def test_errors_that_quote_large_values_are_cut() -> None:
    block = BLOCKS["RemoveFromDictionaryBlock"]
    with pytest.raises(BlockError) as caught:
        _ = [item async for item in run_block(block, {"dictionary": {}, "key": "k" * 100_000}, BlockContext())]
    assert len(caught.value.message) <= MAX_ERROR_CHARS + 1
    found = input_plan(BLOCKS["CalculatorBlock"]).prepare({"a": 1, "b": 1, "operation": "x" * 100_000}, {})
    assert isinstance(found, NotReady)
    assert len(found.reason) < 1_000


def test_padding_cannot_make_a_huge_table() -> None:
    with pytest.raises(BlockError, match="more than 1000000 items"):
        outputs("ZipListsBlock", lists=[[0] * 10_000, *([] for _ in range(1_000))], pad_to_longest=True)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("InterleaveListsBlock", {"lists": [[0] * 50_000, *([] for _ in range(50_000))]}),
        (
            "DataSamplingBlock",
            {"data": [{"k": at} for at in range(20_000)], "sample_size": 15_000, "sampling_method": "cluster", "cluster_key": "k"},
        ),
        (
            "DataSamplingBlock",
            {"data": [{"k": 1} for _ in range(20_000)], "sample_size": 15_000, "sampling_method": "stratified", "stratify_key": "k"},
        ),
    ],
)
def test_the_work_does_not_grow_with_the_square_of_the_items(name: str, inputs: dict[str, Any]) -> None:
    before = time.process_time()
    outputs(name, **inputs)
    assert time.process_time() - before < 2


def test_interleaving_goes_round_until_all_are_used_up() -> None:
    assert outputs("InterleaveListsBlock", lists=[[1, 2, 3], [], ["a"], [None, "b"]])[0][1] == [1, "a", None, 2, "b", 3]


def test_overlapping_matches_cannot_take_all_memory() -> None:
    with pytest.raises(BlockError, match="matches are longer"):
        outputs("ExtractTextInformationBlock", text="a" * 20_000, pattern="(?=(.*))", group=1, find_all=True)


@pytest.mark.parametrize("charset", ["punycode", "hex", "unicode_escape", "no-such", "utf-8\0"])
def test_only_charsets_are_taken_for_charsets(charset: str) -> None:
    assert decoded("é\\ud800".encode(), charset) == "é\\ud800"


@pytest.mark.parametrize(("charset", "content"), [("latin-1", b"\xe9"), ("windows-1252", b"\xe9"), ("UTF-16", "é".encode("utf-16"))])
def test_known_charsets_are_used(charset: str, content: bytes) -> None:
    assert decoded(content, charset) == "é"
