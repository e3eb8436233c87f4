"""The REST surface as an OpenAPI 3.1 document: `python -m mesh.http.openapi DESCRIPTOR_SET OUTPUT`.

Everything comes from the contracts: routes and policy from the options, words from the comments.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from mesh.contract import Method, methods
from mesh.http.comments import comments_of
from mesh.http.operations import Operations, shared_responses
from mesh.http.schemas import Schema, Schemas

VERSION = "v1"
EDGE = "edge"
_ABOUT = """Build, run and watch AI agents.

JSON in snake_case, UTF-8. Unknown fields are refused with their path. Errors are `google.rpc.Status` with the matching HTTP status; the
first detail is an `ErrorInfo` whose `reason` is stable. Lists are paged: send `next_page_token` back as `page_token` until it is empty.
Calls that create take `Idempotency-Key`: a repeat gives the first answer again. GETs carry an `ETag` and honour `If-None-Match`. The
same methods are served as gRPC and gRPC-Web on the same port."""
_STATUS_SCHEMA: Schema = {
    "type": "object",
    "description": "google.rpc.Status. The first detail is a google.rpc.ErrorInfo whose `reason` is stable, for programs.",
    "required": ["code", "message", "details"],
    "properties": {
        "code": {"type": "integer", "description": "gRPC status code."},
        "message": {"type": "string", "description": "For people."},
        "details": {"type": "array", "items": {"type": "object", "required": ["@type"], "properties": {"@type": {"type": "string"}}}},
    },
}


def document(known: Iterable[Method], comments: Mapping[str, str]) -> dict[str, Any]:
    """The document for the methods that clients may call over REST. Raises ValueError for a comment that names an unknown code."""
    listed = [method for method in known if method.http is not None and EDGE in method.callers]
    schemas = Schemas(comments)
    operations = Operations(listed, schemas, comments)
    paths: dict[str, dict[str, Any]] = {}
    tags: dict[str, dict[str, str]] = {}
    for method in listed:
        if method.http is not None:
            paths.setdefault(method.http.path, {})[method.http.verb.lower()] = operations.operation(method, method.http)
            tags.setdefault(method.domain, {})[method.service] = comments.get(method.service, "")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Treadle", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/", "description": "The edge that serves this document."}],
        "tags": [{"name": name, "description": "\n\n".join(texts.values())} for name, texts in sorted(tags.items())],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": _security(listed),
            "responses": shared_responses(),
            "schemas": {"Status": _STATUS_SCHEMA, **dict(sorted(schemas.found.items()))},
        },
    }


def _security(listed: Iterable[Method]) -> dict[str, Any]:
    schemes: dict[str, Any] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token of /v1/auth/login."},
        "api_key": {"type": "http", "scheme": "bearer", "bearerFormat": "trd_…", "description": "An API key, in the same header."},
    }
    for method in listed:
        if method.takes_cookie:
            about = "A refresh token that only the browser sees; calls with it must come from a page of this origin or a listed one."
            schemes["refresh_cookie"] = {"type": "apiKey", "in": "cookie", "name": method.cookie, "description": about}
    return schemes


def main(arguments: list[str]) -> int:
    """Writes the document for a descriptor set file."""
    if len(arguments) != 2:  # noqa: PLR2004 - source and target
        sys.stderr.write("usage: python -m mesh.http.openapi DESCRIPTOR_SET OUTPUT\n")
        return 2
    source, target = map(Path, arguments)
    made = document(methods().values(), comments_of(source.read_bytes()))
    target.write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
