"""What a draft holds, and when two are the same."""

import msgspec

from services.graph.drafts import MAX_PROBLEMS, Condition, content_of
from services.graph.model import Graph, settle
from tests.unit.graph.installed import installed
from tests.unit.graph.making import calculator, graph, link, node


def nameless(*links: str) -> Graph:
    """The calculator with further links, all of them without ids."""
    found = calculator()
    more = (*found.links, *map(link, links))
    return msgspec.structs.replace(found, links=tuple(msgspec.structs.replace(item, id="") for item in more))


def test_the_same_graph_has_the_same_revision_and_another_has_not() -> None:
    revisions = [content_of(it, installed()).revision for it in (nameless(), nameless(), nameless("in.result -> sum.b"))]
    assert revisions[0] == revisions[1] != revisions[2]


def test_what_was_settled_stays_as_it_is() -> None:
    subs = (graph(node("a", "CalculatorBlock"), "a.result -> a.b"), graph(node("b", "CalculatorBlock"), id="mine"))
    once = settle(msgspec.structs.replace(nameless(), sub_graphs=subs), installed())
    assert settle(once, installed()) == once
    assert once.sub_graphs[1].id == "mine"


def test_links_between_the_same_pins_have_ids_of_their_own() -> None:
    twins = settle(nameless("in.result -> sum.a", "in.result -> sum.a"), installed()).links
    ids = [item.id for item in twins]
    assert len(set(ids)) == len(ids)
    # A client that took an id over, and then draws the same link once more.
    again = settle(graph(*calculator().nodes), installed())
    kept = msgspec.structs.replace(again, links=(twins[0], msgspec.structs.replace(twins[0], id="")))
    assert len({item.id for item in settle(kept, installed()).links}) == 2


def test_many_links_between_the_same_pins_take_no_longer_for_each() -> None:
    wires = settle(nameless(*["in.result -> sum.a"] * 20_000), installed()).links
    assert len({item.id for item in wires}) == 20_002


def test_whatever_is_wrong_is_listed_up_to_a_limit() -> None:
    content = content_of(graph(*(node(str(number), "no-such-block") for number in range(300)), name=""), installed())
    assert (len(content.problems), content.problem_count) == (MAX_PROBLEMS, 301)
    assert content.problems[0].field == "name"


def test_a_call_goes_on_from_the_draft_that_it_names() -> None:
    assert Condition.of("").holds("1-a")
    assert Condition.of("").holds("")
    for named in ("1-a", '"1-a"', "*", '"0-b", "1-a"', 'W/"1-a"'):
        assert Condition.of(named).holds("1-a")
        assert Condition.of("", named).holds("1-a")
        assert not Condition.of(named).holds("")
    assert not Condition.of("1-b").holds("1-a")
    assert not Condition.of("1-a", '"1-b"').holds("1-a")
    assert Condition.of("", "", "*").holds("")
    assert not Condition.of("", "", "*").holds("1-a")
