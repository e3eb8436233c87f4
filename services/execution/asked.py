"""What a caller asks for: read from the message, and checked against itself and against the graph."""

import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh import jsontext
from mesh.errors import InvalidArgumentError, Violation
from mesh.maporder import in_order
from services.execution.creation import request_hash
from services.execution.engine.checks import Problem, astray, problems
from services.execution.engine.plan import Plan
from services.execution.errors import graph_invalid, input_invalid
from services.execution.sizes import MAX_MASKS_BYTES, MAX_VALUE_BYTES

_MAX_VIOLATIONS = 50
# UTF-8 takes at most so many bytes for a character of a text.
_BYTES_PER_CHAR = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for an execution. `inputs` and `masks` are JSON text; the hash is empty when there is no request id."""

    inputs: str
    masks: str
    timezone: str
    request_id: str
    request_hash: str

    @classmethod
    def by(cls, request: pb.CreateExecutionRequest) -> "Asked":
        """What the message asks for. Raises InvalidArgumentError (INPUT_INVALID)."""
        _check_version(request)
        inputs = _object_text(request.inputs, request.input_names)
        masks = _object_text(request.input_masks, request.input_mask_nodes)
        _check_sizes(request, masks)
        timezone = _timezone(request.timezone)
        return cls(inputs, masks, timezone, request.request_id.lower(), _hash(request, timezone))

    def check(self, plan: Plan) -> None:
        """Raises InvalidArgumentError (INPUT_INVALID, GRAPH_INVALID) when the graph cannot run so."""
        masks = _masks(self.masks)
        _refuse("input_masks", astray(plan, masks))
        found = problems(plan, _loads(self.inputs, "inputs"), masks)
        _refuse("nodes", [problem for problem in found if problem.node_id])
        # Those of the graph as a whole are not the inputs' fault.
        general = [Violation("graph", problem.message) for problem in found]
        if general:
            raise graph_invalid(general)


def _check_version(request: pb.CreateExecutionRequest) -> None:
    if request.draft and request.graph_version:
        raise input_invalid([Violation("graph_version", "must be 0 when the draft is to be run")])
    if request.graph_revision and not request.draft:
        raise input_invalid([Violation("graph_revision", "is that of a draft: set `draft` too")])


def _hash(request: pb.CreateExecutionRequest, timezone: str) -> str:
    if not request.request_id:
        return ""
    # In another order they are the same values.
    values = _object_text(request.inputs), _object_text(request.input_masks)
    draft = ("draft", request.graph_revision) if request.draft else ()
    return request_hash(request.graph_id, str(request.graph_version), *values, str(request.dry_run), timezone, *draft)


def _object_text(values: Mapping[str, JsonValue], names: Iterable[str] = ()) -> str:
    """A JSON object of values as they were written, in the order of `names`."""
    return orjson.dumps({name: orjson.Fragment(values[name].json or "null") for name in in_order(values, names)}).decode()


def _check_sizes(request: pb.CreateExecutionRequest, masks: str) -> None:
    found = [
        Violation(f"inputs[{jsontext.dumps(name)}]", f"must be at most {MAX_VALUE_BYTES} bytes long as JSON text")
        for name, value in request.inputs.items()
        if _is_longer(value.json, MAX_VALUE_BYTES)
    ]
    if _is_longer(masks, MAX_MASKS_BYTES):
        found.append(Violation("input_masks", f"must be at most {MAX_MASKS_BYTES} bytes long together as JSON text"))
    if found:
        raise input_invalid(found[:_MAX_VIOLATIONS])


def _is_longer(text: str, max_bytes: int) -> bool:
    return len(text) * _BYTES_PER_CHAR > max_bytes and len(text.encode()) > max_bytes


def _timezone(name: str) -> str:
    """The name of a zone that is there; UTC when none is given."""
    try:
        return zoneinfo.ZoneInfo(name or "UTC").key
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise input_invalid([Violation("timezone", "must be the IANA name of a time zone, as Europe/Berlin")]) from None


def _loads(text: str, field: str) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = jsontext.loads(text)
    except ValueError as error:
        raise InvalidArgumentError(
            "A value is not JSON.", reason="INPUT_INVALID", violations=[Violation(field, "must hold JSON text")]
        ) from error
    return loaded


def _masks(text: str) -> dict[str, dict[str, Any]]:
    masks = _loads(text, "input_masks")
    wrong_ids = [node_id for node_id, mask in masks.items() if not isinstance(mask, dict)]
    wrong = [Violation(f"input_masks.{node_id}", "must be a JSON object, pin to value") for node_id in wrong_ids]
    if wrong:
        raise input_invalid(wrong[:_MAX_VIOLATIONS])
    return masks


def _refuse(place: str, found: Iterable[Problem]) -> None:
    violations = [Violation(f"{place}.{item.node_id}.{item.field}".rstrip("."), item.message) for item in found]
    if violations:
        raise input_invalid(violations[:_MAX_VIOLATIONS])
