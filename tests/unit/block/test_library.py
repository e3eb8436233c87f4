"""Every shipped block: recorded results, its own examples, its pins."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from services.block.sdk import Block, BlockContext, BlockError, BlockRegistry, Vector
from services.block.sdk.inputs import NotReady, input_plan
from services.block.sdk.run import run_alone

DATA = Path(__file__).parents[2] / "data" / "blocks"
RECORDED: dict[str, list[dict[str, Any]]] = json.loads((DATA / "vectors.json").read_text())
PINS: dict[str, dict[str, Any]] = json.loads((DATA / "pins.json").read_text())
BLOCKS = BlockRegistry.installed()
# What a description of pins calls the JSON types; the rest are unions and models.
UNIONS = {"any_of", "any"}


def test_every_module_of_the_library_loads() -> None:
    assert BLOCKS.broken == {}


def recorded() -> list[Any]:
    return [
        pytest.param(BLOCKS.get(block_id), case, id=f"{BLOCKS.get(block_id).name}-{number}")  # type: ignore[union-attr]
        for block_id, found in RECORDED.items()
        for number, case in enumerate(found)
        if BLOCKS.get(block_id) is not None
    ]


async def result_of(block: Block, given: dict[str, Any]) -> tuple[Any, list[list[Any]], str, str]:
    """Resolved input, outputs, the stage that failed, and why."""
    prepared = input_plan(block).prepare(given, {})
    if isinstance(prepared, NotReady):
        return None, [], "validate", prepared.reason
    outputs: list[list[Any]] = []
    try:
        async for pin, value in run_alone(block, prepared.data, BlockContext()):
            outputs.append([pin, value])
    except BlockError as error:
        return prepared.data, outputs, "run", error.message
    return prepared.data, outputs, "", ""


def plain(value: Any) -> Any:
    """As JSON has it: infinities and NaN as null."""
    if isinstance(value, dict):
        return None if list(value) == ["$float"] else {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@pytest.mark.parametrize(("block", "case"), recorded())
async def test_a_block_gives_what_was_recorded(block: Block, case: dict[str, Any]) -> None:
    data, outputs, stage, reason = await result_of(block, case["input"])
    expected = case.get("error", "")
    assert stage == expected or (expected == "any" and stage), reason
    if case["resolved_input"] is not None:
        assert plain(data) == case["resolved_input"]
    if not case.get("loose"):
        assert plain(outputs) == plain(case["outputs"])


@pytest.mark.parametrize(
    ("block", "vector"),
    [
        pytest.param(block, vector, id=f"{block.name}-{number}")
        for block in BLOCKS.all()
        for number, vector in enumerate(block.vectors)
        if not vector.needs_network
    ],
)
async def test_the_examples_of_a_block_hold(block: Block, vector: Vector) -> None:
    _, outputs, stage, reason = await result_of(block, vector.input)
    if vector.error:
        assert vector.error in reason
        return
    assert not stage, reason
    if vector.is_exact:
        assert outputs == [[pin, plain(value)] for pin, value in vector.outputs]
    else:
        assert [pin for pin, _ in outputs] == [pin for pin, _ in vector.outputs]


@pytest.mark.parametrize("block", [pytest.param(block, id=block.name) for block in BLOCKS.all() if block.id in PINS])
def test_a_block_has_the_pins_that_graphs_rely_on(block: Block) -> None:
    wanted = PINS[block.id]
    assert (block.name, block.block_type, block.static_output) == (wanted["name"], wanted["type"], wanted["static_output"])
    assert sorted(block.categories) == wanted["categories"]
    schema = block.Input.model_json_schema()
    assert {pin["name"] for pin in wanted["inputs"]} == set(schema["properties"])
    required = set(schema.get("required", ()))
    for pin in wanted["inputs"]:
        assert (pin["name"] in required) == pin.get("required", False), pin["name"]
        shown = schema["properties"][pin["name"]]
        if pin["type"] not in UNIONS and "type" in shown:
            assert shown["type"] == pin["type"], pin["name"]
        if "default" in pin:
            assert shown["default"] == pin["default"], pin["name"]
    outputs = block.Output.model_json_schema(mode="serialization")["properties"]
    assert {pin["name"] for pin in wanted["outputs"]} == set(outputs)


@pytest.mark.parametrize("block", [pytest.param(block, id=block.name) for block in BLOCKS.all()])
def test_a_block_is_described(block: Block) -> None:
    assert block.id
    assert block.description
    assert block.vectors, "a block comes with examples"
    for model in (block.Input, block.Output):
        for name, shown in model.model_json_schema()["properties"].items():
            assert shown.get("description"), f"{name} has no description"
