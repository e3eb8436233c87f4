"""Executions that ask, fail and are explained, from the command line against a running stack."""

from pathlib import Path

from tests.e2e.conftest import Stack, wait_for

ASKS = """
name: Asks
nodes:
  x: {block: AgentNumberInput, input: {name: X, value: 1}}
  ask: {block: HumanInTheLoop, input: {name: Is this right}}
  out: {block: AgentOutput, input: {name: R}}
links: [x.result -> ask.data, ask.approved_data -> out.value]
"""
FAILS = "nodes: {get: {block: GetListItem, input: {list: [1], index: 5}}}"


def asking(stack: Stack, tmp_path: Path) -> str:
    """An execution that waits for a decision."""
    file = tmp_path / "asks.yaml"
    file.write_text(ASKS)
    execution_id = stack.treadle("run", str(file), "-i", "X=4", "--no-wait").strip()
    wait_for(lambda: stack.json("executions", "get", execution_id)["status"] == "EXECUTION_STATUS_REVIEW", "the question")
    return execution_id


def test_a_person_approves_with_other_data(stack: Stack, tmp_path: Path) -> None:
    execution_id = asking(stack, tmp_path)
    (review,) = stack.json("executions", "reviews", execution_id, "--open")["reviews"]
    assert (review["message"], review["data"], review["is_editable"]) == ("Is this right", 4, True)
    assert "Is this right (node ask, editable)" in stack.treadle("executions", "reviews", execution_id)
    said = stack.treadle("executions", "approve", execution_id, review["node_execution_id"], "--data", "5", "-m", "five")
    assert said.split() == [review["node_execution_id"], "approved"]
    wait_for(lambda: stack.json("executions", "get", execution_id)["status"] == "EXECUTION_STATUS_COMPLETED", "the end")
    assert stack.json("executions", "get", execution_id)["outputs"] == {"R": [5]}
    assert stack.json("executions", "reviews", execution_id, "--open") == {"reviews": []}
    stack.treadle("executions", "reject", execution_id, code=2)


def test_a_person_rejects_all_that_is_open(stack: Stack, tmp_path: Path) -> None:
    execution_id = asking(stack, tmp_path)
    (decided,) = stack.json("executions", "reject", execution_id)["reviews"]
    assert decided["status"] == "REVIEW_STATUS_REJECTED"
    wait_for(lambda: stack.json("executions", "get", execution_id)["status"] == "EXECUTION_STATUS_COMPLETED", "the end")
    assert stack.json("executions", "get", execution_id)["outputs"] == {}


def test_a_failed_execution_is_explained_and_retried(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "fails.yaml"
    file.write_text(FAILS)
    execution_id = stack.json("run", str(file), code=1)["id"]
    assert "get: It fired once: it starts with the run. Of its firings: 1 failed" in stack.treadle("executions", "explain", execution_id)
    (node,) = stack.json("executions", "explain", execution_id, "--node", "get")["nodes"]
    assert node["firings"] == [{"status": "EXECUTION_STATUS_FAILED", "count": 1}]
    stack.treadle("executions", "explain", execution_id, "--node", "nowhere", code=2)
    again = stack.json("executions", "retry", execution_id)
    assert again["retry_of"] == execution_id
    wait_for(lambda: stack.json("executions", "get", again["id"])["status"] == "EXECUTION_STATUS_COMPLETED", "the end")
    assert stack.json("executions", "get", again["id"])["stats"]["node_error_count"] == 1
