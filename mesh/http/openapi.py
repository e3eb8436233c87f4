"""The REST surface as an OpenAPI 3.1 document: `python -m mesh.http.openapi DESCRIPTOR_SET OUTPUT`.

Everything comes from the contracts: routes and policy from the options, words from the comments.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor

from mesh.contract import HttpRule, Method, methods
from mesh.http.comments import comments_of
from mesh.http.query import QueryReader
from mesh.http.route import IDEMPOTENCY_HEADER
from mesh.http.routes import variables_of
from mesh.http.schemas import Schema, Schemas

VERSION = "v1"
_ERROR = {"$ref": "#/components/responses/Error"}
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
    """The document for the methods that have a REST route."""
    schemas = Schemas(comments)
    paths: dict[str, dict[str, Any]] = {}
    tags: dict[str, str] = {}
    for method in known:
        if method.http is not None:
            paths.setdefault(method.http.path, {})[method.http.verb.lower()] = _operation(method, method.http, schemas, comments)
            tags[method.domain] = comments.get(method.service, "")
    error = {"description": "What went wrong.", "content": _json({"$ref": "#/components/schemas/Status"})}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Treadle", "version": VERSION, "description": "Build, run and watch AI agents."},
        "tags": [{"name": name, "description": text} for name, text in sorted(tags.items())],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "responses": {"Error": error},
            "schemas": {"Status": _STATUS_SCHEMA, **dict(sorted(schemas.found.items()))},
        },
    }


def main(arguments: list[str]) -> int:
    """Writes the document for a descriptor set file."""
    if len(arguments) != 2:  # noqa: PLR2004 - source and target
        sys.stderr.write("usage: python -m mesh.http.openapi DESCRIPTOR_SET OUTPUT\n")
        return 2
    source, target = map(Path, arguments)
    made = document(methods().values(), comments_of(source.read_bytes()))
    target.write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n")
    return 0


def _operation(method: Method, rule: HttpRule, schemas: Schemas, comments: Mapping[str, str]) -> dict[str, Any]:
    about = comments.get(method.full_name.removeprefix("/").replace("/", "."), "")
    operation: dict[str, Any] = {
        "operationId": f"{method.domain}_{method.handler}",
        "tags": [method.domain],
        "summary": about.split(". ")[0].rstrip("."),
        "description": about,
        "security": [] if method.is_public else [{"bearer": sorted(method.scopes)}],
        "parameters": _parameters(method, rule, schemas),
        "responses": {"200": _response(method, rule, schemas), "default": _ERROR},
    }
    if rule.body:
        schema = _body(method.request_descriptor, rule, schemas)
        operation["requestBody"] = {"required": rule.body != "*" or bool(schema.get("required")), "content": _json(schema)}
    return operation


def _parameters(method: Method, rule: HttpRule, schemas: Schemas) -> list[dict[str, Any]]:
    descriptor = method.request_descriptor
    variables = variables_of(rule.path)
    found: list[dict[str, Any]] = [_parameter("path", name, schemas.field(descriptor.fields_by_name[name])) for name in variables]
    reader = QueryReader(descriptor, (*variables, rule.body))
    found += [_parameter("query", name, schemas.field(field)) for name, field in reader.fields.items()]
    if "request_id" in descriptor.fields_by_name:
        header = {"type": "string", "format": "uuid", "description": "Stands for `request_id` when that is empty."}
        found.append(_parameter("header", IDEMPOTENCY_HEADER, header))
    return found


def _parameter(place: str, name: str, schema: Schema) -> dict[str, Any]:
    inner = {key: value for key, value in schema.items() if key != "description"}
    made: dict[str, Any] = {"name": name, "in": place, "schema": inner, "description": schema.get("description", "")}
    return made | {"required": True} if place == "path" else made


def _body(descriptor: Descriptor, rule: HttpRule, schemas: Schemas) -> Schema:
    if rule.body != "*":
        return schemas.field(descriptor.fields_by_name[rule.body])
    variables = variables_of(rule.path)
    if not variables:
        return schemas.message(descriptor)
    return schemas.object(descriptor, [field.name for field in descriptor.fields if field.name not in variables])


def _response(method: Method, rule: HttpRule, schemas: Schemas) -> dict[str, Any]:
    descriptor = method.response_descriptor
    schema = schemas.field(descriptor.fields_by_name[rule.response_body]) if rule.response_body else schemas.message(descriptor)
    if not method.is_server_streaming:
        return {"description": "Done.", "content": _json(schema)}
    line = {"anyOf": [schema, {"type": "object", "required": ["error"], "properties": {"error": {"$ref": "#/components/schemas/Status"}}}]}
    kinds = ("application/x-ndjson", "text/event-stream")
    return {"description": "One JSON object per line; an error is the last.", "content": {kind: {"schema": line} for kind in kinds}}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
