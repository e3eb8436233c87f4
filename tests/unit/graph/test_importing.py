"""Documents in and out: Treadle's own and both shapes of AutoGPT's."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mesh import jsontext
from mesh.errors import InvalidArgumentError
from services.graph.exporting import export_document
from services.graph.importing import Report, import_document
from services.graph.model import AGENT_BLOCK_ID, Graph
from services.graph.validation import unknown_block_ids, validate
from services.graph.versions import Head
from tests.unit.graph.installed import block_id, installed
from tests.unit.graph.making import calculator, exported_calculator, node

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = Head("0190a000-0000-7000-8000-000000000000", 3, True, "t", "", "", "{}", "{}", NOW, NOW)
AI_TEXT = "1f292d4a-41a4-4977-9684-7c8d560b9f91"


def taken(document: dict[str, Any]) -> tuple[Graph, Report]:
    return import_document(document, installed())


def part(name: str, block: str, /, **constants: Any) -> dict[str, Any]:
    it = node(name, block, **constants)
    return {"id": it.id, "block_id": it.block_id, "input_default": it.constants, "metadata": {}}


def test_a_plain_export_with_corrected_flags() -> None:
    graph, report = taken(exported_calculator())
    assert validate(graph, installed(), for_run=True) == []
    assert [item.is_static for item in graph.links] == [True, False]
    assert graph.name == "Calculator agent"
    assert report.changes == ["Set is_static of the link in.result -> sum.a to true, as its source block says"]
    assert not report.unknown_blocks
    assert not report.needed_credentials


def test_a_document_that_says_nothing_of_static_links_is_not_corrected() -> None:
    document = exported_calculator()
    for item in document["links"]:
        del item["is_static"]
    document["sub_graphs"] = [{**exported_calculator(), "id": "sub", "version": 1}]
    graph, report = taken(document)
    assert [item.is_static for item in graph.links] == [True, False]
    assert report.changes == ["Set is_static of the link in.result -> sum.a to true, as its source block says"], "only the sub-graph's"


def told_by_nodes(document: dict[str, Any]) -> dict[str, Any]:
    """The same document with its links at their nodes only."""
    links = document.pop("links")
    for listed in document["nodes"]:
        listed["input_links"] = [item for item in links if item["sink_id"] == listed["id"]]
        listed["output_links"] = [item for item in links if item["source_id"] == listed["id"]]
    return document


@pytest.mark.parametrize("links", [None, []])
def test_links_that_only_the_nodes_tell_of_are_read(links: list[Any] | None) -> None:
    usual, _ = taken(exported_calculator())
    document = told_by_nodes(exported_calculator()) | ({} if links is None else {"links": links})
    document["sub_graphs"] = [{**told_by_nodes(exported_calculator()), "id": "sub", "version": 1}]
    graph, _ = taken(document)
    assert graph.links == usual.links
    assert graph.sub_graphs[0].links == usual.links


def test_links_of_the_graph_go_before_what_nodes_tell() -> None:
    document = told_by_nodes(exported_calculator())
    kept = document["nodes"][0]["output_links"]
    graph, _ = taken({**document, "links": kept})
    assert [item.id for item in graph.links] == [item["id"] for item in kept]


def test_a_malformed_link_of_a_node_is_named_by_its_place() -> None:
    document = told_by_nodes(exported_calculator())
    document["nodes"][1]["output_links"] = [{"id": "x", "source_id": "in"}]
    with pytest.raises(InvalidArgumentError) as caught:
        taken(document)
    assert caught.value.violations[0].field == "document.nodes[1].output_links[0].source_name"


def test_node_and_link_ids_are_kept_and_graph_ids_are_new() -> None:
    document = exported_calculator()
    graph, _ = taken(document)
    assert [item.id for item in graph.nodes] == [item["id"] for item in document["nodes"]]
    assert [item.id for item in graph.links] == [item["id"] for item in document["links"]]
    assert graph.id == ""


@pytest.mark.parametrize(
    ("sub_graphs", "field"),
    [
        ([{"id": "a", "nodes": []}, {"id": "a", "nodes": []}], "document.sub_graphs[1].id"),
        ([{"id": f"{at}", "nodes": [], "sub_graphs": [{"id": f"{at}x", "nodes": []}]} for at in range(60)], "document.sub_graphs"),
    ],
)
def test_embedded_graphs_can_be_told_apart_and_are_not_too_many(sub_graphs: list[dict[str, Any]], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        taken({**exported_calculator(), "sub_graphs": sub_graphs})
    assert caught.value.violations[0].field == field


def test_the_wrapper_of_the_marketplace() -> None:
    plain, _ = taken(exported_calculator())
    wrapped, report = taken({"id": "x", "name": "Listed", "graph_data": exported_calculator(), "store_listing_id": "y"})
    assert wrapped.nodes == plain.nodes
    assert wrapped.name == "Calculator agent"
    assert "Took the graph out of 'graph_data'" in report.changes


def test_the_body_of_an_autogpt_import() -> None:
    assert taken({"graph": exported_calculator()})[0].nodes == taken(exported_calculator())[0].nodes


def test_very_old_exports() -> None:
    graph, report = taken(
        {
            "id": "5f72e49b",
            "version": 145,
            "is_template": True,
            "name": "Old",
            "description": "x",
            "nodes": [part("a", "b2g2c3d4-5e6f-7g8h-9i0j-k1l2m3n4o5p6"), part("b", "f8e7d6c5-b4a3-2c1d-0e9f-8g7h6i5j4k3l", items=[1])],
            "links": [],
            "subgraphs": {},
        }
    )
    assert [item.block_id for item in graph.nodes] == [block_id("FindInDictionaryBlock"), block_id("StepThroughItemsBlock")]
    assert len(report.changes) == 2


def test_unknown_blocks_become_named_placeholders() -> None:
    document = exported_calculator()
    document["nodes"].append(part("ai", AI_TEXT, prompt="hi", model="claude-sonnet-4-20250514"))
    document["nodes"].append(part("mystery", "00000000-0000-4000-8000-00000000abcd", x=1))
    graph, report = taken(document)
    assert report.unknown_blocks == {AI_TEXT: ("AITextGeneratorBlock", ["ai"]), "00000000-0000-4000-8000-00000000abcd": ("", ["mystery"])}
    assert report.needed_credentials == {("anthropic", "api_key"): ["ai"]}
    assert validate(graph, installed(), tolerated=unknown_block_ids(graph, installed())) == []
    assert graph.nodes[3].constants == {"prompt": "hi", "model": "claude-sonnet-4-20250514"}


def test_the_document_tells_which_credential_a_model_needs() -> None:
    document = exported_calculator()
    document["nodes"].append(part("ai", AI_TEXT, model="some/model"))
    document["credentials_input_schema"]["properties"]["groq_api_key_credentials"] = {
        "credentials_provider": ["groq"],
        "credentials_types": ["user_password"],
        "discriminator_mapping": {"some/model": "groq"},
    }
    assert taken(document)[1].needed_credentials == {("groq", "user_password"): ["ai"]}


def test_secrets_are_left_out() -> None:
    document = exported_calculator()
    document["nodes"] += [
        part("secret", "AgentInputBlock", name="key", secret=True, value="hush"),
        part(
            "ai",
            AI_TEXT,
            api_key="hush",
            credentials={"id": "1", "provider": "openai", "type": "api_key"},
            max_tokens=2000,
            auth={"Password": "hush", "user": "me"},
            has_token=True,
        ),
    ]
    graph, report = taken(document)
    assert graph.nodes[3].constants == {"name": "key", "secret": True}
    assert graph.nodes[4].constants == {"max_tokens": 2000, "auth": {"user": "me"}, "has_token": True}
    assert report.needed_credentials == {("openai", "api_key"): ["ai"]}
    assert "hush" not in str(report.changes)
    assert "Left out the secret 'auth.Password' of node ai" in report.changes


def sub_agent(graph_id: str, version: int) -> dict[str, Any]:
    return part(
        "child", AGENT_BLOCK_ID, graph_id=graph_id, graph_version=version, user_id="u", inputs={}, input_schema={}, output_schema={}
    )


@pytest.mark.parametrize("graph_id", ["sub-1", "somebody-elses"])
def test_sub_agents_are_joined_to_their_embedded_graph(graph_id: str) -> None:
    document = exported_calculator()
    document["nodes"].append(sub_agent(graph_id, 6))
    document["sub_graphs"] = [
        {**exported_calculator(), "id": "sub-1", "version": 6},
        {**exported_calculator(), "id": "sub-2", "version": 21},
    ]
    graph, report = taken(document)
    constants = graph.nodes[3].constants
    assert constants is not None
    assert constants["graph_id"] == graph.sub_graphs[0].id != "sub-1"
    assert "user_id" not in constants
    assert any("Joined node child" in change for change in report.changes) == (graph_id != "sub-1")
    assert [sub.version for sub in graph.sub_graphs] == [6, 21]


def test_a_sub_agent_that_is_not_in_the_file_is_told() -> None:
    document = exported_calculator()
    document["nodes"].append(sub_agent("elsewhere", 3))
    assert taken(document)[1].changes[0] == "Node child runs the graph elsewhere, which is not in the file"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "document"),
        ({"nodes": 3}, "document.nodes"),
        ({"nodes": {}}, "document.nodes"),
        ({"nodes": [], "links": ""}, "document.links"),
        ({"graph": {"name": "no nodes"}}, "document"),
        ({"nodes": [{"id": "a\0", "block_id": "b"}]}, "document.nodes[0].id"),
        ({"nodes": [{"id": "a", "block_id": "b" * 101}]}, "document.nodes[0].block_id"),
        ({"nodes": [3]}, "document.nodes[0]"),
        ({"nodes": [{"id": "a"}]}, "document.nodes[0].block_id"),
        ({"nodes": [{"block_id": "b"}]}, "document.nodes[0].id"),
        ({"nodes": [{"id": "a", "block_id": "b", "input_default": []}]}, "document.nodes[0].input_default"),
        ({"nodes": [], "links": [{"source_id": "a"}]}, "document.links[0].source_name"),
        ({"nodes": [], "name": 3}, "document.name"),
        ({"nodes": [], "sub_graphs": [{"nodes": [7]}]}, "document.sub_graphs[0].nodes[0]"),
    ],
)
def test_what_is_no_graph_is_refused_with_the_place(document: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        taken(document)
    assert caught.value.reason == "DOCUMENT_INVALID"
    assert caught.value.violations[0].field == field


def test_a_link_that_is_there_twice_gets_an_id_of_its_own() -> None:
    document = exported_calculator()
    document["links"].append(document["links"][0])
    graph, _ = taken(document)
    assert len({item.id for item in graph.links}) == 3
    assert validate(graph, installed()) == []


def test_wrappers_may_be_nested_but_not_empty() -> None:
    assert len(taken({"graph_data": {"graph": exported_calculator()}})[0].nodes) == 3
    with pytest.raises(InvalidArgumentError):
        taken({"graph": {"graph_data": None}})


def test_an_export_can_be_imported_again() -> None:
    before, _ = taken(exported_calculator())
    after, report = taken(jsontext.loads(export_document(before, HEAD, installed())))
    assert (after.nodes, after.links, after.name) == (before.nodes, before.links, before.name)
    assert report.changes == []


def test_key_order_and_long_integers_survive() -> None:
    document = exported_calculator()
    document["nodes"][1]["input_default"] = {"z": 1, "a": 123456789012345678901234567890, "operation": "Add", "b": 9007199254740993}
    graph, _ = taken(jsontext.loads(jsontext.dumps(document)))
    text = bytes(graph.nodes[1].input_default).decode()
    assert text == '{"z":1,"a":123456789012345678901234567890,"operation":"Add","b":9007199254740993}'
    assert text in export_document(graph, HEAD, installed())


def test_an_export_holds_no_secret() -> None:
    it = calculator()
    secret = node("s", "AgentInputBlock", name="k", secret=True, value="hush")
    assert "hush" not in export_document(Graph(name="t", nodes=(*it.nodes, secret)), HEAD, installed())
