"""The REST surface of errors, as text that people read: `tests/data/http/errors.md`.

After a wanted change write the file anew: `TREADLE_UPDATE_GOLDEN=1 pytest tests/unit/mesh/http/test_golden.py`.
"""

import json
import os
from pathlib import Path

import httpx

GOLDEN = Path(__file__).parents[3] / "data" / "http" / "errors.md"
BIG = " " * (4 * 1024 * 1024 + 1)
REQUESTS = (
    ("GET", "/v1/nothing", ""),
    ("POST", "/v1/graphs/g", ""),
    ("HEAD", "/v1/executions/e:watch", ""),
    ("POST", "/v1/graphs", "{"),
    ("POST", "/v1/graphs", '{"name": NaN}'),
    ("POST", "/v1/graphs", "[]"),
    ("POST", "/v1/graphs", '{"nmae": "x"}'),
    ("POST", "/v1/graphs", '{"name": 7, "nodes": [{"id": "n", "blockId": "b"}], "version": 1.5}'),
    ("POST", "/v1/graphs", '{"name": "g", "nodes": [{"id": "n"}]}'),
    ("POST", "/v1/executions", '{"inputs": {"a": 1}, "input_masks": 3}'),
    ("POST", "/v1/executions", '{"graph_id": ""}'),
    ("POST", "/v1/executions", '{"graph_id": "g", "request_id": "1"}'),
    ("POST", "/v1/blocks/b1:execute", '{"block_id": "b2"}'),
    ("GET", "/v1/graphs/g?version=x&page=2", ""),
    ("GET", "/v1/executions?page_size=all", ""),
    ("GET", "/v1/graphs/%00", ""),
    ("GET", "/v1/graphs/%ff", ""),
    ("GET", "/v1/graphs/missing", ""),
    ("GET", "/v1/graphs/broken", ""),
    ("GET", "/v1/executions/missing:watch", ""),
    ("GET", "/v1/executions/failing:watch", ""),
    ("DELETE", "/v1/graphs/g", "{}"),
    ("POST", "/v1/graphs", BIG),
)
SHOWN_HEADERS = ("content-type", "allow", "retry-after", "www-authenticate", "cache-control")


async def test_errors_look_as_recorded(door: httpx.AsyncClient) -> None:
    text = "# Errors over REST\n" + "".join([await shown(door, *request) for request in REQUESTS])
    if os.environ.get("TREADLE_UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


async def shown(door: httpx.AsyncClient, verb: str, path: str, body: str) -> str:
    """One exchange as Markdown. Ids that are new each time are blotted out."""
    response = await door.request(verb, path, content=body.encode(), headers={"content-type": "application/json"} if body else {})
    sent = body if len(body) < 1000 else f"({len(body)} bytes)"
    headers = [f"{name}: {response.headers[name]}" for name in SHOWN_HEADERS if name in response.headers]
    lines = [pretty(line) for line in response.text.splitlines()]
    parts = [f"\n## {verb} {path}", *([f"`{sent}`"] if sent else []), "", "```", f"{response.status_code}", *headers, "", *lines, "```", ""]
    return "\n".join(parts)


def pretty(line: str) -> str:
    """A line of JSON, indented when it is an error."""
    value = json.loads(line)
    error = value.get("error", value)
    for detail in error["details"] if isinstance(error, dict) else ():
        metadata = detail.get("metadata", {})
        metadata.update({key: "…" for key in metadata if key == "error_id"})
    return json.dumps(value, indent=2, ensure_ascii=False) if "details" in str(value) else line
