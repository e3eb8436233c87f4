"""The HTTP filters of the edge, in the order in which they see a request."""

from collections.abc import Mapping
from typing import Any

from mesh.contract import Method
from mesh.edge.addresses import address_filters
from mesh.edge.authentication import jwt_filter
from mesh.edge.browsers import csrf_filter
from mesh.edge.limits import DOMAIN, count_filters, wall_filter
from mesh.edge.routes import grpc_cluster
from mesh.edge.targets import EdgeTargets
from mesh.limits import READ_BEYOND

Json = dict[str, Any]

_TYPES = "type.googleapis.com/envoy.extensions"
# By these a client would command Envoy (which obeys those of its own network), or tell what stands behind us for whom it speaks.
_SAID_FOR_OTHERS = "x-envoy-.*|forwarded|x-forwarded-(host|port|prefix|server)|x-real-ip|x-original-(url|uri)|x-rewrite-url"


def http_filters(methods: Mapping[str, Method], targets: EdgeTargets) -> list[Json]:
    """All of them."""
    return [
        _filter("header_mutation", "HeaderMutation", mutations={"request_mutations": [_remove_own_headers(), _remove_forged_headers()]}),
        *address_filters(targets.policy),
        wall_filter(),
        _filter("cors", "Cors"),
        csrf_filter(),
        _filter("grpc_web", "GrpcWeb"),
        jwt_filter(methods, targets.issuer, targets.keys_max_age_s),
        # After the token: who is known has a limit of their own.
        *count_filters(grpc_cluster(DOMAIN)),
        _filter("buffer", "Buffer", max_request_bytes=READ_BEYOND * targets.max_body_bytes),
        # How long what took is nobody's business.
        _filter("router", "Router", suppress_envoy_headers=True),
    ]


def _filter(name: str, message: str, **config: Any) -> Json:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{_TYPES}.filters.http.{name}.v3.{message}", **config}}


def _remove_own_headers() -> Json:
    """Only services may say who they are by `x-treadle-*`; what a client sends under such a name is dropped.

    Names that begin with `x-treadle-on` are for clients: by one an administrator says for whom. Envoy's expressions know no "but".
    """
    return {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": r"x-treadle-(?:[^o].*|o[^n].*|o?)"}}}}


def _remove_forged_headers() -> Json:
    return {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": _SAID_FOR_OTHERS}}}}
