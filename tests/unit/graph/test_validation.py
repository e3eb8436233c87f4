"""All problems of a graph come at once, each with its node and field."""

from typing import Any

import msgspec
import pytest

from services.block.sdk.policy import PolicyError, node_policy
from services.graph.catalogue import BlockView, Catalogue
from services.graph.model import AGENT_BLOCK_ID, Graph, Link, Node, raw_value, settle
from services.graph.validation import unknown_block_ids, validate
from tests.unit.graph.installed import block_id, installed
from tests.unit.graph.making import calculator, graph, node


def found(it: Graph, *, for_run: bool = False, tolerated: frozenset[str] = frozenset()) -> dict[str, str]:
    return {item.path: item.message for item in validate(it, installed(), for_run=for_run, tolerated=tolerated)}


def test_a_sound_graph_has_no_problems() -> None:
    assert validate(calculator(), installed(), for_run=True) == []


def test_all_problems_come_at_once() -> None:
    it = graph(
        node("in", "AgentInputBlock"),
        node("sum", "CalculatorBlock"),
        node("odd", "no-such-block"),
        "in.result -> sum.a",
        "in.wrong -> sum.c",
        "in.result -> gone.a",
        "lost.result -> sum.b",
    )
    assert found(it) == {
        "nodes[0].input_default.name": "AgentInputBlock needs a value for 'name': a constant or a link",
        "nodes[2].block_id": "there is no block with the id 'no-such-block'",
        "links[1].source_name": "AgentInputBlock has no output pin 'wrong'; it has result",
        "links[1].sink_name": "CalculatorBlock has no input pin 'c'; it has a, b, operation, round_result",
        "links[2].sink_id": "there is no node with the id 'gone'",
        "links[3].source_id": "there is no node with the id 'lost'",
    }
    by_path = {item.path: item for item in validate(it, installed())}
    assert (by_path["nodes[0].input_default.name"].node_id, by_path["nodes[0].input_default.name"].field) == ("in", "name")
    assert by_path["links[2].sink_id"].node_id == "in"
    assert by_path["links[3].source_id"].node_id == "sum"


def test_required_inputs_of_ordinary_blocks_are_demanded_for_a_run_only() -> None:
    it = graph(node("sum", "CalculatorBlock", operation="Add", a=1))
    assert found(it) == {}
    assert list(found(it, for_run=True)) == ["nodes[0].input_default.b"]


def test_a_link_or_a_path_into_a_pin_provides_it() -> None:
    it = graph(
        node("a", "CreateDictionaryBlock", **{"values_#_k": 1}),
        node("b", "FillTextTemplateBlock", format="{{ k }}"),
        "a.dictionary_#_k -> b.values_#_k",
    )
    assert found(it, for_run=True) == {}


def test_every_block_has_an_error_pin_but_agent_inputs() -> None:
    it = graph(
        node("in", "AgentInputBlock", name="x"),
        node("sum", "CalculatorBlock", operation="Add", a=1, b=2),
        node("out", "AgentOutputBlock", name="e"),
        "sum.error -> out.value",
        "in.error -> out.value",
    )
    assert list(found(it)) == ["links[1].source_name"]


def test_tool_pins_are_not_checked() -> None:
    it = graph(node("a", "StoreValueBlock", input=1), node("b", "CountItemsBlock"), "a.tools_^_count_~_collection -> b.collection")
    assert found(it, for_run=True) == {}


def test_duplicate_ids() -> None:
    twice = node("x", "StoreValueBlock", input=1)
    links = (Link("l", "x", "output", "x", "data"), Link("l", "x", "output", "x", "input"))
    assert found(Graph(name="t", nodes=(twice, twice), links=links)) == {
        "nodes[1].id": "another node has the id 'x' already",
        "links[1].id": "another link has the id 'l' already",
    }


@pytest.mark.parametrize("name", ["credentials", "openai_credentials"])
def test_input_names_of_credentials_are_reserved(name: str) -> None:
    assert list(found(graph(node("in", "AgentInputBlock", name=name)))) == ["nodes[0].input_default.name"]


@pytest.mark.parametrize("text", [b"[1]", b"{", b'"x"', b'{"a": NaN}'])
def test_constants_and_metadata_must_be_objects(text: bytes) -> None:
    it = Graph(name="t", nodes=(Node("x", installed_id(), msgspec.Raw(text), msgspec.Raw(text)),))
    assert set(found(it)) == {"nodes[0].input_default", "nodes[0].metadata"}


def installed_id() -> str:
    return next(block.id for block in installed() if block.name == "StoreValueBlock")


def test_a_graph_that_cannot_start() -> None:
    ring = graph(node("a", "StoreValueBlock"), node("b", "StoreValueBlock"), "a.output -> b.input", "b.output -> a.input")
    assert found(ring) == {}
    assert list(found(ring, for_run=True)) == ["nodes"]
    assert list(found(graph(), for_run=True)) == ["nodes"]


def test_a_webhook_gets_its_payload_from_outside_and_a_note_never_fires() -> None:
    it = graph(node("hook", "GenericWebhookTriggerBlock"), node("note", "NoteBlock"))
    assert found(it, for_run=True) == {}


def test_agent_nodes_have_the_pins_of_their_stored_schemas() -> None:
    schemas = {
        "input_schema": {"type": "object", "properties": {"q": {}, "n": {}}, "required": ["q", "n"]},
        "output_schema": {"type": "object", "properties": {"answer": {}}},
    }
    it = graph(
        node("in", "AgentInputBlock", name="x"),
        node("child", AGENT_BLOCK_ID, graph_id="g", graph_version=1, inputs={}, **schemas),
        node("out", "AgentOutputBlock", name="y"),
        "in.result -> child.q",
        "in.result -> child.other",
        "child.answer -> out.value",
        "child.error -> out.value",
        "child.none -> out.value",
    )
    assert set(found(it, tolerated=frozenset({AGENT_BLOCK_ID}))) == {
        "links[1].sink_name",
        "links[4].source_name",
        "nodes[1].input_default.inputs.n",
    }


def test_placeholders_are_tolerated_until_the_run() -> None:
    it = graph(node("x", "gone-1"), node("y", "StoreValueBlock"), "x.anything -> y.input", "y.output -> x.whatever")
    assert unknown_block_ids(it, installed()) == {"gone-1"}
    assert list(found(it)) == ["nodes[0].block_id"]
    assert found(it, tolerated=frozenset({"gone-1"})) == {}
    assert "nodes[0].block_id" in found(it, for_run=True, tolerated=frozenset({"gone-1"}))


def test_sub_graphs_are_checked_too() -> None:
    it = graph(node("a", "StoreValueBlock", input=1), sub_graphs=(graph(node("b", "gone-1")),))
    assert list(found(it)) == ["sub_graphs[0].nodes[0].block_id"]


def test_static_flags_come_from_the_source_block() -> None:
    flags = {item.id: item.is_static for item in settle(calculator(), installed()).links}
    assert flags == {"in.result -> sum.a": True, "sum.result -> out.value": False}


def test_missing_ids_of_links_and_sub_graphs_are_given() -> None:
    bare = Graph(
        name="t",
        nodes=(node("a", "StoreValueBlock", input=1),),
        links=(Link("", "a", "output", "a", "data"),),
        sub_graphs=(calculator(),),
    )
    done = settle(bare, installed())
    assert done.links[0].id
    assert done.sub_graphs[0].id
    assert done.sub_graphs[0].links[0].is_static


def test_a_null_does_not_provide_a_required_input() -> None:
    it = graph(node("sum", "CalculatorBlock", operation="Add", a=1, b=None))
    assert found(it) == {}
    assert list(found(it, for_run=True)) == ["nodes[0].input_default.b"]


def test_sub_graphs_with_the_same_id_cannot_be_told_apart() -> None:
    sub = msgspec.structs.replace(calculator(), id="sub")
    assert list(found(graph(sub_graphs=(sub, sub)))) == ["sub_graphs[1].id"]
    assert found(graph(sub_graphs=(sub, msgspec.structs.replace(sub, version=2)))) == {}


def test_a_block_that_could_not_be_loaded_is_missing_with_its_fault() -> None:
    broken = BlockView(
        "plug", "PluginBlock", "", static_output=False, is_disabled=True, input_schema={}, output_schema={}, fault="no driver"
    )
    catalogue = Catalogue([*installed(), broken])
    it = graph(node("n", "plug-in"), *[msgspec.structs.replace(node("p", "x-y"), block_id="plug")], "p.out -> n.in")
    messages = {item.path: item.message for item in validate(it, catalogue)}
    assert messages["nodes[1].block_id"] == "PluginBlock could not be loaded: no driver"
    assert list(messages) == ["nodes[0].block_id", "nodes[1].block_id"]
    assert validate(it, catalogue, tolerated=unknown_block_ids(it, catalogue)) == []


def test_odd_graphs_are_judged_not_crashed_on() -> None:
    odd = [
        graph(),
        graph(node("a", "StoreValueBlock"), "a.output -> a.input", "a.output -> a.input", "a.error -> a.data"),
        graph(node("a", "CalculatorBlock"), node("b", "CalculatorBlock"), "a.result -> b.a", "b.result -> a.a"),
        graph(node("a", "CreateDictionaryBlock"), node("b", "CreateDictionaryBlock"), "a.dictionary_#_ -> b.values_#_", "a._#_x -> b._$_0"),
        Graph(
            name="x",
            nodes=(Node("a", "b", msgspec.Raw(b"[1]"), msgspec.Raw(b"7")), Node("a", "b", msgspec.Raw(b"{"), msgspec.Raw(b"null"))),
        ),
        Graph(name="x", nodes=(node("c", AGENT_BLOCK_ID, input_schema=5, output_schema=[], inputs="x", graph_id=1, graph_version="v"),)),
        graph(node("c", AGENT_BLOCK_ID, input_schema={"required": [1, None], "properties": []}), "c.x -> c.y"),
        graph(*(node(f"n{at}", "StoreValueBlock", input="x" * 1000) for at in range(3000))),
    ]
    for it in odd:
        for for_run in (False, True):
            assert all(item.message and item.path for item in validate(it, installed(), for_run=for_run))
            settle(it, installed())


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"retry": {"attempts": 0}}, "retry.attempts"),
        ({"retry": {"attempts": 2, "backoff_s": -1}}, "retry.backoff_s"),
        ({"retry": {}}, "retry"),
        ({"retry": {"attempts": 2, "times": 3}}, "retry"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"on_interrupt": "maybe"}, "on_interrupt"),
        ({"stub_outputs": [["only a name"]]}, "stub_outputs.0"),
    ],
)
def test_metadata_that_every_run_refuses_is_a_problem_of_the_graph(metadata: dict[str, Any], path: str) -> None:
    it = graph(Node("keep", block_id("StoreValueBlock"), raw_value({"input": 1}), raw_value(metadata)))
    assert list(found(it)) == [f"nodes[0].metadata.{path}"]
    (problem,) = validate(it, installed())
    assert (problem.node_id, problem.field) == ("keep", f"metadata.{path}")
    with pytest.raises(PolicyError):
        node_policy(metadata)


def test_metadata_that_runs_take_is_no_problem() -> None:
    retry = {"attempts": 3, "backoff_s": 0.5, "multiplier": 1, "max_backoff_s": 9, "on": ["TimeoutError"]}
    policy = {"retry": retry, "timeout_s": 3, "on_interrupt": "ask", "stub_outputs": [["output", None]]}
    for metadata in (policy, dict.fromkeys(policy), {"position": {"x": 1}, "retries": "many"}):
        node_policy(metadata)
        assert found(graph(Node("keep", block_id("StoreValueBlock"), raw_value({"input": 1}), raw_value(metadata)))) == {}
