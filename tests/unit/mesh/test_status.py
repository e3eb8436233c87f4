"""Errors keep their meaning on the wire."""

import json

import pytest
from google.rpc import error_details_pb2 as details

from mesh import errors
from mesh.errors import Code, TreadleError, Violation
from mesh.status import from_status, to_json, to_status

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
