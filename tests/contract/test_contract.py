"""The contracts say all that the mesh needs to know, and say it once."""

from collections import Counter

import pytest

from mesh import contract


def test_every_method_carries_its_whole_policy() -> None:
    assert len(contract.methods()) >= 27


def test_no_two_methods_share_a_route() -> None:
    routes = Counter((method.http.verb, method.http.path) for method in contract.methods().values() if method.http)
    assert [route for route, count in routes.items() if count > 1] == []


@pytest.mark.parametrize("method", contract.methods().values(), ids=lambda method: method.full_name)
def test_reads_are_repeatable_and_bodies_name_real_fields(method: contract.Method) -> None:
    if method.http is None:
        assert "edge" not in method.callers
        return
    if method.http.verb == "GET":
        assert method.idempotency == "NO_SIDE_EFFECTS"
    for field, message in (
        (method.http.body, method.request_descriptor),
        (method.http.response_body, method.response_descriptor),
    ):
        assert field in {"", "*"} or field in message.fields_by_name


# Lists that never grow beyond a page: keys, providers and plans are a handful.
SHORT_LISTS = {
    "/treadle.auth.v1.SigningKeyService/ListSigningKeys",
    "/treadle.auth.v1.OidcService/ListOidcProviders",
    "/treadle.limit.v1.LimitService/ListPlans",
}


@pytest.mark.parametrize("method", [m for m in contract.methods().values() if m.name.startswith("List")], ids=lambda m: m.full_name)
def test_lists_are_paged(method: contract.Method) -> None:
    if method.full_name not in SHORT_LISTS:
        assert {"page_size", "page_token"} <= set(method.request_descriptor.fields_by_name)
        assert "next_page_token" in method.response_descriptor.fields_by_name


# What they make is a secret that is shown once, so a repeat cannot give it again; a second account is refused anyway.
SECRETS = {"CreateApiKey", "CreateSignInLink"}


@pytest.mark.parametrize(
    "method",
    [m for m in contract.methods().values() if m.name.startswith(("Create", "Import")) and m.name not in SECRETS],
    ids=lambda m: m.full_name,
)
def test_what_makes_a_resource_can_be_repeated_safely(method: contract.Method) -> None:
    assert "request_id" in method.request_descriptor.fields_by_name or method.is_idempotent


def test_a_method_without_options_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from google.protobuf import descriptor_pb2, descriptor_pool  # noqa: PLC0415 - a pool of its own for a bad contract

    file = descriptor_pb2.FileDescriptorProto(name="bare.proto", package="treadle.bare.v1", syntax="proto3")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="BareService")
    service.method.add(name="Do", input_type=".treadle.bare.v1.Nothing", output_type=".treadle.bare.v1.Nothing")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    bare = pool.FindServiceByName("treadle.bare.v1.BareService")
    monkeypatch.setattr(contract, "services", lambda: {bare.full_name: bare})
    with pytest.raises(contract.ContractError, match=r"BareService\.Do: mesh names no callers"):
        contract.methods.__wrapped__()


@pytest.mark.parametrize("method", [m for m in contract.methods().values() if m.http is not None], ids=lambda m: m.full_name)
def test_pages_can_keep_every_refresh_token_in_a_cookie(method: contract.Method) -> None:
    fields = {*method.request_descriptor.fields_by_name, *method.response_descriptor.fields_by_name}
    assert ("refresh_token" in fields) == bool(method.cookie)
    assert not method.cookie or method.cookie_field in fields


@pytest.mark.parametrize("method", [m for m in contract.methods().values() if m.http is not None], ids=lambda m: m.full_name)
def test_updates_honour_if_match(method: contract.Method) -> None:
    assert method.http is not None
    assert method.takes_if_match or method.http.verb not in {"PUT", "PATCH"}
