"""What a node's metadata may say about running it."""

from typing import Any

import pytest

from mesh.errors import InvalidArgumentError
from services.block.sdk import BlockError
from services.block.sdk.policy import PLAIN, OnInterrupt, PolicyError, Retry, node_policy
from services.execution.engine.plan import Plan
from tests.unit.execution.graphs import BLOCKS, graph


def test_metadata_without_policy_is_the_platforms() -> None:
    assert node_policy({"position": {"x": 1, "y": 2}, "customized_name": "retry"}) is PLAIN


def test_all_of_it() -> None:
    policy = node_policy(
        {
            "position": {},
            "retry": {"attempts": 3, "backoff_s": 1, "multiplier": 3, "max_backoff_s": 5, "on": ["away", "NodeTimeoutError"]},
            "timeout_s": 2,
            "on_interrupt": "ask",
            "stub_outputs": [["out", {"a": None}]],
        }
    )
    assert policy.retry == Retry(attempts=3, backoff_s=1.0, multiplier=3.0, max_backoff_s=5.0, on=("away", "NodeTimeoutError"))
    assert (policy.timeout_s, policy.on_interrupt, policy.stub_outputs) == (2.0, OnInterrupt.ASK, (("out", {"a": None}),))


def test_pauses_grow_up_to_their_limit() -> None:
    retry = Retry(attempts=100, backoff_s=1, multiplier=3, max_backoff_s=20)
    assert [retry.pause_s(failures) for failures in (1, 2, 3, 4, 99)] == [1, 3, 9, 20, 20]
    assert Retry(attempts=100, backoff_s=1e6, multiplier=100).pause_s(99) == Retry(attempts=1).max_backoff_s


@pytest.mark.parametrize(
    ("on", "error", "allowed"),
    [
        ([], BlockError("anything"), True),
        (["away"], BlockError("host is away now"), True),
        (["NodeTimeoutError"], BlockError("too long", kind="NodeTimeoutError"), True),
        (["Timeout"], BlockError("too long", kind="NodeTimeoutError"), False),
    ],
)
def test_errors_are_chosen_by_a_part_of_the_message_or_by_kind(on: list[str], error: BlockError, allowed: bool) -> None:
    retry = Retry(attempts=3, on=tuple(on))
    assert retry.allows(2, error) is allowed
    assert not retry.allows(3, error)


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"retry": {}}, "retry.attempts"),
        ({"retry": {"attempts": 0}}, "retry.attempts"),
        ({"retry": {"attempts": 2.5}}, "retry.attempts"),
        ({"retry": {"attempts": 2, "backoff": 1}}, "retry.backoff"),
        ({"retry": {"attempts": 2, "multiplier": 0.5}}, "retry.multiplier"),
        ({"retry": {"attempts": 2, "on": [""]}}, "retry.on.0"),
        ({"retry": 3}, "retry"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": "soon"}, "timeout_s"),
        ({"on_interrupt": "shrug"}, "on_interrupt"),
        ({"stub_outputs": [["out"]]}, "stub_outputs.0.1"),
    ],
)
def test_wrong_metadata_is_refused_with_its_place(metadata: dict[str, Any], path: str) -> None:
    with pytest.raises(PolicyError) as refused:
        node_policy(metadata)
    assert path in [place for place, _ in refused.value.problems]
    document = graph({"x": ("pass", {"a": 1})})
    document["nodes"][0]["metadata"] = metadata
    with pytest.raises(InvalidArgumentError) as invalid:
        Plan.compile(document, BLOCKS)
    assert invalid.value.reason == "GRAPH_INVALID"
    assert f"nodes.x.metadata.{path}" in [violation.field for violation in invalid.value.violations]
