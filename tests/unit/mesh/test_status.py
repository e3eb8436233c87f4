"""Errors keep their meaning on the wire."""

import json

import pytest
from google.rpc import error_details_pb2 as details
from treadle.graph.v1.draft_service_pb2 import Draft, DraftConflict
from treadle.graph.v1.graph_service_pb2 import Graph, Node

from mesh import errors
from mesh.errors import Code, Detail, TreadleError, Violation
from mesh.status import MAX_STATUS_BYTES, from_status, to_json, to_status

KINDS = [
    errors.InvalidArgumentError,
    errors.NotFoundError,
    errors.AlreadyExistsError,
    errors.PermissionDeniedError,
    errors.UnauthenticatedError,
    errors.FailedPreconditionError,
    errors.AbortedError,
    errors.ResourceExhaustedError,
    errors.DeadlineExceededError,
    errors.UnavailableError,
    errors.UnimplementedError,
    errors.InternalError,
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_back_as_itself(kind: type[TreadleError]) -> None:
    sent = kind("Words.", reason="SOME_REASON", metadata={"graph_id": "g"}, violations=[Violation("a.b[0]", "bad")], retry_after_s=2.5)
    back = from_status(to_status(sent))
    assert type(back) is kind
    assert (back.message, back.reason, back.metadata, back.violations, back.retry_after_s) == (
        sent.message,
        sent.reason,
        sent.metadata,
        sent.violations,
        sent.retry_after_s,
    )


def test_every_code_has_an_http_status_and_a_class() -> None:
    assert set(errors.HTTP_STATUS) == set(Code)
    for code in Code:
        if code is not Code.OK:
            assert isinstance(from_status(to_status(errors.InternalError("x"))), TreadleError)


@pytest.mark.parametrize("kind", [errors.UnavailableError, errors.ResourceExhaustedError])
def test_what_passes_by_itself_says_when_to_come_back(kind: type[TreadleError]) -> None:
    packed = to_status(kind("Later.")).details
    assert any(item.Is(details.RetryInfo.DESCRIPTOR) for item in packed)


def test_json_has_the_shape_that_rest_promises() -> None:
    error = errors.NotFoundError("No such graph.", reason="GRAPH_NOT_FOUND", metadata={"graph_id": "g"})
    assert json.loads(to_json(error)) == {
        "code": 5,
        "message": "No such graph.",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "GRAPH_NOT_FOUND",
                "domain": "treadle.dev",
                "metadata": {"graph_id": "g"},
            }
        ],
    }


def test_json_names_fields_and_delays() -> None:
    error = errors.ResourceExhaustedError("Too much.", violations=[Violation("x.y", "too long")], retry_after_s=1.5)
    shown = {item["@type"].rpartition(".")[2]: item for item in json.loads(to_json(error))["details"]}
    assert shown["BadRequest"]["field_violations"] == [{"field": "x.y", "description": "too long"}]
    assert shown["RetryInfo"]["retry_delay"] == "1.500s"
    assert shown["QuotaFailure"]["violations"][0]["description"] == "Too much."


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_detail_of_its_own_is_whole_in_json_and_fits_into_trailers(size: int) -> None:
    node = Node(id="a")
    node.input_default.json = '{"z":1,"a":"' + "x" * size + '"}'
    whole = DraftConflict(stored=Draft(etag="1-a", graph=Graph(nodes=[node])))
    brief = DraftConflict(stored=Draft(etag="1-a"), is_shortened=True)
    error = errors.EtagMismatchError("Changed.", detail=Detail(whole, brief))
    (_, shown) = json.loads(to_json(error))["details"]
    assert shown["@type"] == "type.googleapis.com/treadle.graph.v1.DraftConflict"
    assert list(shown["stored"]["graph"]["nodes"][0]["input_default"]) == ["z", "a"]
    status = to_status(error)
    found = DraftConflict()
    assert status.details[1].Unpack(found)
    assert found == (whole if size < MAX_STATUS_BYTES else brief)
    assert status.ByteSize() < 2 * MAX_STATUS_BYTES
    assert from_status(status).reason == "ETAG_MISMATCH"
