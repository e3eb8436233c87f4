"""JSON Schemas (2020-12) of the contracts' messages, as OpenAPI 3.1 wants them."""

from collections.abc import Mapping
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from mesh.http.fields import INT32_RANGE, UINT32_RANGE, Kind, enum_of, form_of, kind_of, map_parts, message_of, shown_fields
from mesh.http.forms import BytesForm, DurationForm, Form, MaskForm, TimeForm

Schema = dict[str, Any]

_OUTPUT_ONLY = "Output only."
_FORMS: Mapping[Form | None, Schema] = {
    TimeForm: {"type": "string", "format": "date-time"},
    DurationForm: {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$"},
    MaskForm: {"type": "string", "description": "Field paths, separated by commas."},
    BytesForm: {"type": "string", "contentEncoding": "base64"},
}
_SIMPLE: Mapping[Kind, Schema] = {
    Kind.STRING: {"type": "string"},
    Kind.BOOL: {"type": "boolean"},
    Kind.INT32: {"type": "integer", "minimum": INT32_RANGE[0], "maximum": INT32_RANGE[1]},
    Kind.UINT32: {"type": "integer", "minimum": UINT32_RANGE[0], "maximum": UINT32_RANGE[1]},
    Kind.DOUBLE: {"type": "number"},
    # Any JSON value at all.
    Kind.JSON: {},
}
# 64-bit integers: JavaScript would lose digits.
_INT64: Schema = {"type": ["string", "integer"], "format": "int64"}


class Schemas:
    """Collects the schemas of all messages and enums that are referred to."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        """`comments` maps full names to what the contracts say about them."""
        self._comments = comments
        self.found: dict[str, Schema] = {}

    def message(self, descriptor: Descriptor) -> Schema:
        """A reference to the schema of a message."""
        name = component(descriptor.full_name)
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self.object(descriptor, [field.name for field in shown_fields(descriptor)])
        return {"$ref": f"#/components/schemas/{name}"}

    def object(self, descriptor: Descriptor, names: list[str]) -> Schema:
        """The schema of a message that shows only these fields."""
        fields = [descriptor.fields_by_name[name] for name in names]
        schema: Schema = {"type": "object", "additionalProperties": False, "properties": {item.name: self.field(item) for item in fields}}
        required = [item.name for item in fields if _is_required(item)]
        if required:
            schema["required"] = required
        return self._described(schema, descriptor.full_name)

    def field(self, field: FieldDescriptor) -> Schema:
        """The schema of a whole field."""
        rules = field.GetOptions().Extensions[validate_pb2.field]
        parts = map_parts(field)
        if parts is not None:
            schema: Schema = {"type": "object", "additionalProperties": self._single(parts[1], rules.map.values)}
            if rules.map.HasField("max_pairs"):
                schema["maxProperties"] = rules.map.max_pairs
        elif field.is_repeated:
            schema = {"type": "array", "items": self._single(field, rules.repeated.items)}
            schema |= _bounds(rules.repeated, {"min_items": "minItems", "max_items": "maxItems"})
        else:
            schema = self._single(field, rules)
        return self._described(schema, field.full_name)

    def _single(self, field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Schema:
        kind = kind_of(field)
        if kind is Kind.MESSAGE:
            return self.message(message_of(field))
        if kind is Kind.ENUM:
            return self._enum(enum_of(field))
        if kind is Kind.FORM:
            return dict(_FORMS.get(form_of(field), _INT64))
        schema = dict(_SIMPLE[kind])
        if kind is Kind.STRING:
            schema |= _bounds(rules.string, {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern"})
            well_known = rules.string.WhichOneof("well_known")
            if well_known:
                schema["format"] = well_known
        elif kind is Kind.INT32:
            schema |= _bounds(rules.int32, {"gte": "minimum", "lte": "maximum"})
        return schema

    def _enum(self, descriptor: EnumDescriptor) -> Schema:
        name = component(descriptor.full_name)
        if name not in self.found:
            lines = [f"- `{item.name}`: {self._comments.get(f'{descriptor.full_name}.{item.name}', '')}" for item in descriptor.values]
            about = self._comments.get(descriptor.full_name, "")
            names = [item.name for item in descriptor.values]
            self.found[name] = {"type": "string", "enum": names, "description": "\n".join([about, "", *lines])}
        return {"$ref": f"#/components/schemas/{name}"}

    def _described(self, schema: Schema, full_name: str) -> Schema:
        comment = self._comments.get(full_name, "")
        if not comment:
            return schema
        described = schema | {"description": comment}
        return described | {"readOnly": True} if _OUTPUT_ONLY in comment else described


def component(full_name: str) -> str:
    """The name of a message or enum among the components: `graph.v1.Graph`."""
    return full_name.removeprefix("treadle.")


def _is_required(field: FieldDescriptor) -> bool:
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return bool(rules.required or rules.string.min_len or rules.string.email or rules.repeated.min_items)


def _bounds(rules: Any, names: Mapping[str, str]) -> Schema:
    return {shown: getattr(rules, name) for name, shown in names.items() if rules.HasField(name)}
