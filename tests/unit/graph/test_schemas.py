"""The inputs and outputs of an agent, derived from its nodes."""

from typing import Any

from services.graph.schemas import input_schema, output_schema
from tests.unit.graph.installed import installed
from tests.unit.graph.making import calculator, graph, node


def one_input(block: str, **constants: Any) -> dict[str, Any]:
    schema = input_schema(graph(node("in", block, name="x", **constants)), installed())
    part: dict[str, Any] = schema["properties"]["x"]
    return part


def test_names_are_required_unless_their_node_has_a_value() -> None:
    it = graph(
        node("a", "AgentInputBlock", name="first"),
        node("b", "AgentInputBlock", name="second", value=0, description="With a default"),
        node("c", "AgentOutputBlock", name="result", title="The result"),
    )
    schema = input_schema(it, installed())
    assert schema["required"] == ["first"]
    assert schema["properties"]["second"] == {
        "advanced": False,
        "secret": False,
        "title": "second",
        "description": "With a default",
        "default": 0,
    }
    assert output_schema(it, installed()) == {
        "type": "object",
        "properties": {"result": {"advanced": False, "secret": False, "title": "The result"}},
        "required": ["result"],
    }


def test_typed_inputs_say_their_type() -> None:
    assert {"type": "integer"} in one_input("AgentNumberInputBlock")["anyOf"]
    assert one_input("AgentDropdownInputBlock", options=["a", "b"])["enum"] == ["a", "b"]
    assert one_input("AgentDropdownInputBlock", placeholder_values=["a"])["enum"] == ["a"]
    table = one_input("AgentTableInputBlock", column_headers=["n"])
    assert (table["type"], table["format"]) == ("array", "table")
    assert table["items"]["properties"] == {"n": {"type": "string"}}


def test_a_secret_shows_no_default() -> None:
    assert "default" not in one_input("AgentInputBlock", secret=True, value="hush")


def test_the_calculator() -> None:
    assert input_schema(calculator(), installed()) == {
        "type": "object",
        "properties": {"Input": {"advanced": False, "secret": False, "title": "Input"}},
        "required": ["Input"],
    }


def test_columns_and_options_of_the_wrong_kind_are_passed_over() -> None:
    assert list(one_input("AgentTableInputBlock", column_headers=5)["items"]["properties"]) == ["Column 1", "Column 2", "Column 3"]
    assert "enum" not in one_input("AgentDropdownInputBlock", options={"a": 1})
