"""One OpenAPI operation per route: parameters, body, answers, links and examples, all from the contract."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor

from mesh.contract import HttpRule, Method
from mesh.http.cookies import ASKED as COOKIE_ASKED
from mesh.http.cookies import HEADER as COOKIE_HEADER
from mesh.http.fields import shown_fields
from mesh.http.outcomes import BY_STATUS, Outcome, errors_of
from mesh.http.query import QueryReader
from mesh.http.responses import error_headers
from mesh.http.route import IDEMPOTENCY_HEADER, MAX_KEY_LENGTH
from mesh.http.routes import variables_of
from mesh.http.samples import sample, sample_of
from mesh.http.schemas import Schema, Schemas
from mesh.http.streaming import NDJSON, SSE
from mesh.status import to_json

Json = dict[str, Any]

JSON = "application/json"
_OUTPUT_ONLY = "readOnly"
_NEW_ID = "$response.body#/id"
_HEADERS: Mapping[str, str] = {
    "x-request-id": "Id of the request in logs: the one that came with it, or a new one.",
    "etag": "Changes whenever the answer does; send it back in `If-None-Match`.",
    "retry-after": "Seconds to wait before the next try.",
    "www-authenticate": "How to prove who one is.",
    "set-cookie": "The credential, or its end, for calls that keep it in a cookie.",
    "cache-control": "Whether the answer may be kept.",
}
_ABOUT_COOKIE = "For pages: the refresh token comes and goes in a cookie that scripts cannot read, and stands in no body."


class Operations:
    """Makes the operations of all routes; they share the schemas."""

    def __init__(self, known: Iterable[Method], schemas: Schemas, comments: Mapping[str, str]) -> None:
        """`known` are the methods of the document; links lead among them."""
        self._by_path: dict[str, list[Method]] = {}
        for method in known:
            if method.http is not None:
                self._by_path.setdefault(method.http.path, []).append(method)
        self._schemas = schemas
        self._comments = comments

    def operation(self, method: Method, rule: HttpRule) -> Json:
        """The operation of one route. Raises ValueError when the comment of the method names an unknown code."""
        about = self._comments.get(method.full_name.removeprefix("/").replace("/", "."), "")
        made: Json = {
            "operationId": operation_id(method),
            "tags": [method.domain],
            "summary": about.split(". ")[0].rstrip("."),
            "description": about,
            "security": [] if method.is_public else [{"bearer": sorted(method.scopes)}, {"api_key": sorted(method.scopes)}],
            "parameters": self._parameters(method, rule),
            "responses": {"200": self._success(method, rule), **self._conditional(method, rule), **self._errors(method, about)},
        }
        if method.takes_cookie:
            made["security"] = [{}, {"refresh_cookie": []}]
        if rule.body:
            made["requestBody"] = self._request_body(method, rule)
        return made

    def _parameters(self, method: Method, rule: HttpRule) -> list[Json]:
        descriptor = method.request_descriptor
        variables = variables_of(rule.path)
        found: list[Json] = []
        for name in variables:
            field = descriptor.fields_by_name[name]
            found.append(_parameter("path", name, self._schemas.field(field)) | {"example": sample_of(field)})
        reader = QueryReader(descriptor, (*variables, rule.body))
        found += [_parameter("query", name, self._schemas.field(field)) for name, field in reader.fields.items()]
        if "request_id" in descriptor.fields_by_name:
            about = "Stands for `request_id`: a UUID, or any text, which becomes one. Must not differ from a `request_id` in the request."
            found.append(_header(IDEMPOTENCY_HEADER, about, {"type": "string", "maxLength": MAX_KEY_LENGTH}))
        if method.cookie:
            found.append(_header(COOKIE_HEADER, _ABOUT_COOKIE, {"type": "string", "enum": [COOKIE_ASKED]}))
        if method.takes_if_match:
            found.append(_header("if-match", "The ETag of the resource as it was read; `*` for any.", {"type": "string"}))
        if _is_cacheable(method, rule):
            found.append(_header("if-none-match", "ETags of copies that the client has.", {"type": "string"}))
        return found

    def _request_body(self, method: Method, rule: HttpRule) -> Json:
        descriptor = method.request_descriptor
        variables = variables_of(rule.path)
        if rule.body != "*":
            schema = self._schemas.field(descriptor.fields_by_name[rule.body])
        elif variables:
            schema = self._schemas.object(descriptor, [field.name for field in shown_fields(descriptor) if field.name not in variables])
        else:
            schema = self._schemas.message(descriptor)
        content = {JSON: {"schema": schema, "example": self.request_example(method, rule)}}
        return {"required": rule.body != "*" or bool(self._required(schema)), "content": content}

    def request_example(self, method: Method, rule: HttpRule) -> Any:
        """A body that the method takes."""
        if method.example:
            return orjson.loads(method.example)
        descriptor = method.request_descriptor
        if rule.body != "*":
            made = sample_of(descriptor.fields_by_name[rule.body])
            field_type = descriptor.fields_by_name[rule.body].message_type
            return self._writable(field_type, made) if field_type is not None and isinstance(made, dict) else made
        return self._writable(descriptor, sample(descriptor, variables_of(rule.path)))

    def _writable(self, descriptor: Descriptor, made: Json) -> Json:
        """Without what only answers show."""
        fields = descriptor.fields_by_name
        return {
            name: value for name, value in made.items() if name not in fields or not self._schemas.field(fields[name]).get(_OUTPUT_ONLY)
        }

    def _required(self, schema: Schema) -> list[str]:
        name = schema.get("$ref", "").rpartition("/")[2]
        required: list[str] = self._schemas.found.get(name, schema).get("required", [])
        return required

    def _success(self, method: Method, rule: HttpRule) -> Json:
        descriptor = method.response_descriptor
        field = descriptor.fields_by_name[rule.response_body] if rule.response_body else None
        schema = self._schemas.field(field) if field else self._schemas.message(descriptor)
        example = sample_of(field) if field else sample(descriptor)
        if method.media_type:
            content = {method.media_type: {"schema": {"type": "string", "contentMediaType": method.media_type}}}
            return {"description": "All of it.", "headers": _named(["x-request-id"]), "content": content}
        if method.is_server_streaming:
            return _stream(schema, example)
        headers = ["x-request-id", *(["etag"] if _is_cacheable(method, rule) else []), *(["set-cookie"] if method.cookie else [])]
        made: Json = {"description": "Done.", "headers": _named(headers), "content": {JSON: {"schema": schema, "example": example}}}
        links = self._links(method, rule)
        return made | {"links": links} if links else made

    def _links(self, method: Method, rule: HttpRule) -> Json:
        """From a page to the next one, and from what was made to all that can be done with it."""
        if "next_page_token" in method.response_descriptor.fields_by_name:
            again = {name: f"$request.path.{name}" for name in variables_of(rule.path)} | {"page_token": "$response.body#/next_page_token"}
            return {"next_page": {"operationId": operation_id(method), "parameters": again}}
        resource = method.response_descriptor.fields_by_name.get(rule.response_body)
        if rule.verb != "POST" or resource is None or "id" not in getattr(resource.message_type, "fields_by_name", ()):
            return {}
        made: Json = {}
        for path, others in self._by_path.items():
            variables = variables_of(path)
            for other in others:
                if path.startswith(f"{rule.path}/{{") and len(variables) == 1:
                    made[operation_id(other)] = {"operationId": operation_id(other), "parameters": {variables[0]: _NEW_ID}}
                elif not variables and other.http and other.http.body == "*" and f"{method.domain}_id" in _fields(other):
                    made[operation_id(other)] = {"operationId": operation_id(other), "requestBody": {f"{method.domain}_id": _NEW_ID}}
        return made

    @staticmethod
    def _conditional(method: Method, rule: HttpRule) -> Json:
        return {"304": {"$ref": "#/components/responses/NotModified"}} if _is_cacheable(method, rule) else {}

    @staticmethod
    def _errors(method: Method, about: str) -> Json:
        found: Json = {}
        for status, words in errors_of(method, about).items():
            outcome = BY_STATUS[status]
            shared = {"$ref": f"#/components/responses/{outcome.name}"}
            found[str(status)] = error_response(outcome, f"{outcome.meaning} Here: {words}.") if words else shared
        return found


def operation_id(method: Method) -> str:
    """The name of the operation: `graph_get_graph`."""
    return f"{method.domain}_{method.handler}"


def shared_responses() -> Json:
    """The answers that many operations have."""
    known = {"description": "What the client has is still right.", "headers": _named(["etag", "x-request-id"])}
    return {"NotModified": known} | {item.name: error_response(item, item.meaning) for item in BY_STATUS.values()}


def error_response(outcome: Outcome, meaning: str) -> Json:
    """An error in our shape, with the headers that go with it."""
    example = orjson.loads(to_json(outcome.error))
    content = {JSON: {"schema": {"$ref": "#/components/schemas/Status"}, "example": example}}
    return {"description": meaning, "headers": _named(["x-request-id", *error_headers(outcome.error)]), "content": content}


def _stream(schema: Schema, example: Any) -> Json:
    error = {"type": "object", "required": ["error"], "properties": {"error": {"$ref": "#/components/schemas/Status"}}}
    line = orjson.dumps(example).decode()
    about = (
        "A stream: one JSON object per line, or per server-sent event for clients that accept `text/event-stream`. "
        "It lasts until there is nothing more to come; an object with `error` is the last."
    )
    contents = {
        NDJSON: {"schema": {"type": "string"}, "example": f"{line}\n", "x-line-schema": {"anyOf": [schema, error]}},
        SSE: {"schema": {"type": "string"}, "example": f"data: {line}\n\n", "x-line-schema": {"anyOf": [schema, error]}},
    }
    return {"description": about, "headers": _named(["x-request-id"]), "content": contents}


def _fields(method: Method) -> Mapping[str, object]:
    return method.request_descriptor.fields_by_name


def _is_cacheable(method: Method, rule: HttpRule) -> bool:
    return rule.verb == "GET" and not method.is_server_streaming


def _parameter(place: str, name: str, schema: Schema) -> Json:
    inner = {key: value for key, value in schema.items() if key != "description"}
    made: Json = {"name": name, "in": place, "schema": inner, "description": schema.get("description", "")}
    return made | {"required": True} if place == "path" else made


def _header(name: str, about: str, schema: Schema) -> Json:
    return {"name": name, "in": "header", "schema": schema, "description": about}


def _named(headers: Iterable[str]) -> Json:
    return {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in headers}
