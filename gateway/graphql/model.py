"""What the contracts say about methods and messages, as far as GraphQL asks: which are reads, which list what, which belong to what."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor

from gateway.graphql.names import snake
from mesh.contract import Method
from mesh.http.fields import Kind, kind_of, map_parts

EDGE = "edge"
# What a page holds when nobody says. Always said to the services, some of which would give more: an answer costs what was reckoned.
DEFAULT_PAGE = 50
_PAGE_TOKEN = "next_page_token"  # noqa: S105 - the name of a field
_GET, _LIST, _BATCH = "Get", "List", "Batch"


@dataclass(frozen=True, slots=True)
class Listing:
    """A method that answers with pages. `items` is the field that holds them."""

    method: Method
    items: FieldDescriptor


def offered(known: Iterable[Method]) -> list[Method]:
    """What GraphQL offers: what clients may call once they are signed in. What hands out credentials stays with REST and gRPC."""
    return [method for method in known if EDGE in method.callers and not method.is_public]


def is_read(method: Method) -> bool:
    """Whether it belongs to Query."""
    return method.idempotency == "NO_SIDE_EFFECTS"


def listing_of(method: Method) -> Listing | None:
    """The method as one that answers with pages; None when it does not."""
    fields = method.response_descriptor.fields
    items = [field for field in fields if field.is_repeated and field.message_type is not None and map_parts(field) is None]
    is_listing = method.name.startswith(_LIST) and len(items) == 1 and any(field.name == _PAGE_TOKEN for field in fields)
    return Listing(method, items[0]) if is_listing else None


def answer_of(method: Method) -> FieldDescriptor | None:
    """The field of the response that is the answer by itself, as in REST; None when the whole response is."""
    name = method.http.response_body if method.http else ""
    return method.response_descriptor.fields_by_name[name] if name else None


def getters(offered_methods: Iterable[Method]) -> Mapping[str, Method]:
    """By what a field is called that refers to a resource (`graph_id`): the method that gets it."""
    found = {}
    for method in offered_methods:
        reference = f"{snake(method.name.removeprefix(_GET))}_id"
        answer = answer_of(method)
        has_resource = answer is not None and kind_of(answer) is Kind.MESSAGE and not answer.is_repeated
        if method.name.startswith(_GET) and reference in method.request_descriptor.fields_by_name and has_resource:
            found[reference] = method
    return found


def batch_of(method: Method, known: Mapping[str, Method]) -> Method | None:
    """The method that takes many requests of this one at once, where the service has one."""
    plural = method.name if method.name.startswith(_LIST) else f"{method.name}s"
    return known.get(f"/{method.service}/{_BATCH}{plural}")


def is_required(field: FieldDescriptor) -> bool:
    """Whether a request is refused without it."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return bool(rules.required or rules.string.min_len or rules.repeated.min_items)


def is_output_only(field: FieldDescriptor) -> bool:
    """Whether clients never send it."""
    return field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
