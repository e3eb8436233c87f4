"""Logs hold ids and never secrets."""

import json

import pytest

from mesh.logs import MASK, configure, get_logger, redact, redact_text
from mesh.settings import Settings


@pytest.mark.parametrize(
    "text",
    [
        "cannot connect to postgresql://treadle:hunter2@db:5432/x",
        "redis://:hunter2@cache:6379/0",
        "header Authorization: Bearer hunter2.hunter2",
        "password=hunter2 for you",
        "{'password': 'hunter2'}",
        "token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2",
    ],
)
def test_secrets_in_texts_are_masked(text: str) -> None:
    assert "hunter2" not in redact_text(text)
    assert MASK in redact_text(text)


def test_fields_with_telling_names_are_masked() -> None:
    event = {"event": "x", "refresh_token": "hunter2", "detail": {"password": "hunter2", "list": ["redis://:hunter2@h/0"]}, "user_id": "u"}
    shown = redact(None, "info", event)
    assert "hunter2" not in repr(shown)
    assert shown["user_id"] == "u"


def test_a_line_is_one_json_object(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    fault = ValueError("postgresql://treadle:hunter2@db/x")
    configure(Settings(instance="one"), "graph")
    try:
        get_logger("test.logs").error("went_wrong", graph_id="g", exc_info=fault)
    finally:
        configure(Settings(log_format="text", log_level="error"))
    line = json.loads(capfdbinary.readouterr().err.splitlines()[-1])
    assert (
        line | {"event": "went_wrong", "level": "error", "graph_id": "g", "service": "graph", "instance": "one", "source": "test.logs"}
        == line
    )
    assert "ValueError" in line["exception"]
    assert "hunter2" not in line["exception"]
