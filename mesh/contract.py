"""The contracts as the code sees them: one `Method` per RPC, with all the policy that its options carry.

This is the only reader of the proto options; the chain, the doors, the edge, the docs and the policy table work from what it returns.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import treadle
from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from treadle.options.v1 import cache_pb2, options_pb2, rest_pb2

# Among callers: every workload of the mesh, which clients outside of it are not.
EVERY_SERVICE = "*"

_WORD_START = re.compile(r"(?<!^)(?=[A-Z])")
_VERBS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, slots=True)
class HttpRule:
    """A REST route. `body` is "", "*" or the field that the body fills; `response_body` is "" or the field that is the answer."""

    verb: str
    path: str
    body: str
    response_body: str


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. `full_name` is `/treadle.graph.v1.GraphService/GetGraph`; `domain` is `graph`; `handler` is `get_graph`."""

    full_name: str
    service: str
    name: str
    domain: str
    handler: str
    request_type: type[Message]
    response_type: type[Message]
    request_descriptor: Descriptor
    response_descriptor: Descriptor
    is_server_streaming: bool
    http: HttpRule | None
    is_public: bool
    scopes: frozenset[str]
    callers: frozenset[str]
    timeout_s: float
    rate_class: str
    idempotency: str
    # Over REST: a request body for documents, as JSON text; whether `If-Match` is honoured; a cookie that may hold the
    # credential, and the field of the messages that it stands for.
    example: str = ""
    takes_if_match: bool = False
    cookie: str = ""
    cookie_field: str = ""
    # Of a stream of bytes: what they are together over REST.
    media_type: str = ""
    # Seconds for which an answer of a read is used without asking again; None when it never is. Whether others than the client may keep it.
    max_age_s: int | None = None
    is_shared: bool = False

    @property
    def takes_cookie(self) -> bool:
        """True when the cookie may stand for a field of the request; others only set it."""
        return bool(self.cookie) and self.cookie_field in self.request_descriptor.fields_by_name

    @property
    def is_idempotent(self) -> bool:
        """True when a call may be repeated without harm."""
        return self.idempotency in {"NO_SIDE_EFFECTS", "IDEMPOTENT"}

    def is_open_to(self, workload: str) -> bool:
        """Whether the workload may call it."""
        return workload in self.callers or (EVERY_SERVICE in self.callers and workload != "edge")


class ContractError(Exception):
    """A contract lacks something that every method must say."""


@cache
def services() -> Mapping[str, ServiceDescriptor]:
    """All Treadle services by full name, from the generated modules."""
    found: dict[str, ServiceDescriptor] = {}
    for module in _generated_modules():
        found.update({item.full_name: item for item in module.DESCRIPTOR.services_by_name.values()})
    return dict(sorted(found.items()))


@cache
def methods() -> Mapping[str, Method]:
    """All Treadle methods by full name. Raises ContractError, naming every gap, when a method lacks an option."""
    descriptors = [method for service in services().values() for method in service.methods]
    gaps = [gap for descriptor in descriptors for gap in _gaps(descriptor)]
    if gaps:
        raise ContractError("; ".join(gaps))
    return {method.full_name: method for method in map(_read, descriptors)}


def methods_of(service: str) -> list[Method]:
    """The methods of one service, in the order of its proto file. `service` is its full name."""
    return [method for method in methods().values() if method.service == service]


def _generated_modules() -> Iterator[Any]:
    for info in pkgutil.walk_packages(treadle.__path__, "treadle."):
        if info.name.endswith("_pb2"):
            yield importlib.import_module(info.name)


def _gaps(descriptor: MethodDescriptor) -> Iterator[str]:
    options = descriptor.GetOptions()
    auth = options.Extensions[options_pb2.auth]
    mesh = options.Extensions[options_pb2.mesh]
    rate = options.Extensions[options_pb2.rate_limit]
    if auth.public == bool(auth.scopes):
        yield f"{descriptor.full_name}: auth must be public or name scopes, not both"
    if not mesh.callers:
        yield f"{descriptor.full_name}: mesh names no callers"
    if not mesh.HasField("timeout"):
        yield f"{descriptor.full_name}: mesh has no timeout"
    if getattr(rate, "class") == options_pb2.RATE_CLASS_UNSPECIFIED:
        yield f"{descriptor.full_name}: rate_limit has no class"
    if not options.HasField("idempotency_level"):
        yield f"{descriptor.full_name}: idempotency_level is not stated"
    if "edge" in mesh.callers and not options.HasExtension(annotations_pb2.http):
        yield f"{descriptor.full_name}: clients may call it but it has no REST route"
    yield from _cache_gaps(descriptor, options)


def _cache_gaps(descriptor: MethodDescriptor, options: MethodOptions) -> Iterator[str]:
    rule = options.Extensions[cache_pb2.cache]
    if not options.HasExtension(cache_pb2.cache):
        return
    if not rule.HasField("max_age"):
        yield f"{descriptor.full_name}: cache has no max_age"
    if not options.Extensions[annotations_pb2.http].get or descriptor.server_streaming:
        yield f"{descriptor.full_name}: only answers to GET may be kept"
    if rule.shared and not options.Extensions[options_pb2.auth].public:
        yield f"{descriptor.full_name}: what is not for everybody must not be shared"


def _read(descriptor: MethodDescriptor) -> Method:
    options = descriptor.GetOptions()
    auth = options.Extensions[options_pb2.auth]
    mesh = options.Extensions[options_pb2.mesh]
    rate = options.Extensions[options_pb2.rate_limit]
    rest = options.Extensions[rest_pb2.rest]
    cache_rule = options.Extensions[cache_pb2.cache]
    service = descriptor.containing_service
    return Method(
        full_name=f"/{service.full_name}/{descriptor.name}",
        service=service.full_name,
        name=descriptor.name,
        domain=service.full_name.split(".")[1],
        handler=_WORD_START.sub("_", descriptor.name).lower(),
        request_type=GetMessageClass(descriptor.input_type),
        response_type=GetMessageClass(descriptor.output_type),
        request_descriptor=descriptor.input_type,
        response_descriptor=descriptor.output_type,
        is_server_streaming=descriptor.server_streaming,
        http=_http_rule(options),
        is_public=auth.public,
        scopes=frozenset(auth.scopes),
        callers=frozenset(mesh.callers),
        timeout_s=mesh.timeout.seconds + mesh.timeout.nanos / 1e9,
        rate_class=options_pb2.RateClass.Name(getattr(rate, "class")).removeprefix("RATE_CLASS_").lower(),
        idempotency=MethodOptions.IdempotencyLevel.Name(options.idempotency_level),
        example=rest.example,
        takes_if_match=rest.if_match,
        cookie=rest.cookie,
        cookie_field=rest.cookie_field,
        media_type=rest.media_type,
        max_age_s=cache_rule.max_age.seconds if cache_rule.HasField("max_age") else None,
        is_shared=cache_rule.shared,
    )


def _http_rule(options: MethodOptions) -> HttpRule | None:
    if not options.HasExtension(annotations_pb2.http):
        return None
    rule = options.Extensions[annotations_pb2.http]
    verb = next(verb for verb in _VERBS if getattr(rule, verb))
    return HttpRule(verb.upper(), getattr(rule, verb), rule.body, rule.response_body)
