"""The edge keeps out whom it is told to, and protects people in browsers: a real Envoy under settings of the tests."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from mesh.edge.policy import EdgePolicy, PolicyError, policy_of
from mesh.host import Host, hosted
from mesh.settings import Settings
from tests.integration.mesh.edges import edge_before
from tests.integration.mesh.hosts import Mesh, local_settings

ORIGIN = "https://app.example"
KEYS = "/.well-known/jwks.json"
REFRESH = "/v1/auth/refresh"


@pytest.fixture(scope="module")
def local() -> Settings:
    return local_settings()


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return Mesh()


@pytest_asyncio.fixture(scope="module")
async def host(mesh: Mesh, local: Settings) -> AsyncIterator[Host]:
    async with hosted(mesh.services(), local) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def listed(host: Host) -> AsyncIterator[httpx.AsyncClient]:
    """An edge that knows two origins, and whose Refresh takes a cookie."""
    policy = EdgePolicy(origins=(ORIGIN, "https://*.pages.example"))
    async with (
        edge_before(host, policy=policy, cookies={"Refresh": "session"}) as address,
        httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as client,
    ):
        yield client


async def statuses(host: Host, policy: EdgePolicy, *forwarded: str) -> list[int]:
    """What an edge with this policy answers to clients behind a proxy that says they come from these addresses ("": no proxy)."""
    async with edge_before(host, policy=policy) as address, httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as client:
        asked = [await client.get(KEYS, headers={"x-forwarded-for": text} if text else {}) for text in forwarded]
        return [answer.status_code for answer in asked]


class TestHeaders:
    """What every answer carries."""

    @pytest.mark.parametrize(("path", "status"), [(KEYS, 200), ("/v1/users/me", 401), ("/v1/nothing", 404), ("/v1/graphs", 401)])
    async def test_nothing_in_an_answer_may_run_or_be_framed(self, listed: httpx.AsyncClient, path: str, status: int) -> None:
        answer = await listed.get(path)
        assert answer.status_code == status
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "strict-transport-security" not in answer.headers

    async def test_answers_do_not_tell_what_stands_behind(self, listed: httpx.AsyncClient) -> None:
        answer = await listed.get(KEYS)
        assert answer.headers["server"] == "treadle"
        assert not [name for name in answer.headers if name.startswith("x-envoy")]

    async def test_clients_cannot_command_the_edge_by_headers(self, listed: httpx.AsyncClient, mesh: Mesh, local: Settings) -> None:
        commands = {"x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-force-trace": "1", "x-envoy-max-retries": "9"}
        mesh.users.gate.clear()
        mesh.users.arrived.clear()
        headers = {"authorization": f"Bearer {mesh.auth.token(local)}", **commands}
        call = asyncio.create_task(listed.get("/v1/users/me", headers=headers))
        async with asyncio.timeout(10):
            await mesh.users.arrived.wait()
        await asyncio.sleep(0.05)
        mesh.users.gate.set()
        assert (await call).status_code == 200


class TestOrigins:
    """Which pages may call."""

    @pytest.mark.parametrize(
        ("origin", "is_welcome"),
        [
            (ORIGIN, True),
            ("https://a.pages.example", True),
            ("https://a.b.pages.example", True),
            ("https://pages.example", False),
            ("https://app.example.evil.test", False),
            ("https://evil-app.example", False),
            ("http://app.example", False),
            ("http://localhost:3000", False),
            ("null", False),
        ],
    )
    async def test_only_listed_origins_may_call(self, listed: httpx.AsyncClient, origin: str, is_welcome: bool) -> None:
        preflight = await listed.options("/v1/graphs", headers={"origin": origin, "access-control-request-method": "POST"})
        actual = await listed.get(KEYS, headers={"origin": origin})
        for answer in (preflight, actual):
            assert answer.headers.get("access-control-allow-origin") == (origin if is_welcome else None)
            assert answer.headers.get("access-control-allow-credentials") == ("true" if is_welcome else None)

    async def test_pages_of_this_machine_may_call_without_cookies_when_nobody_is_listed(self, host: Host) -> None:
        async with edge_before(host) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
            answer = await client.get(KEYS, headers={"origin": "http://localhost:3000"})
            assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
            assert "access-control-allow-credentials" not in answer.headers


class TestCookies:
    """A cookie counts only when the page that sends it may."""

    @pytest.mark.parametrize("origin", ["", "https://evil.example", "null", "https://app.example.evil.test"])
    async def test_other_pages_cannot_use_the_cookie(self, listed: httpx.AsyncClient, origin: str) -> None:
        headers = {"cookie": "a=b; session=secret"} | ({"origin": origin} if origin else {})
        answer = await listed.post(REFRESH, json={}, headers=headers)
        assert (answer.status_code, answer.json()["details"][0]["reason"]) == (403, "FORBIDDEN")

    async def test_our_own_page_and_listed_ones_can(self, listed: httpx.AsyncClient) -> None:
        own = f"http://{listed.base_url.host}:{listed.base_url.port}"
        for origin in (own, ORIGIN, "https://a.pages.example"):
            answer = await listed.post(REFRESH, json={}, headers={"cookie": "session=secret", "origin": origin})
            # The handler is not there; it was reached.
            assert answer.status_code != 403, origin

    async def test_who_sends_no_cookie_needs_no_origin(self, listed: httpx.AsyncClient) -> None:
        assert (await listed.post(REFRESH, json={"refresh_token": "x"})).status_code != 403
        assert (await listed.post(REFRESH, json={}, headers={"cookie": "theme=dark", "origin": "https://evil.example"})).status_code != 403


class TestAddresses:
    """Who is let in."""

    async def test_denied_networks_are_refused_in_our_words(self, host: Host) -> None:
        async with edge_before(host, policy=EdgePolicy(denied=("127.0.0.0/8",))) as address, httpx.AsyncClient() as client:
            answer = await client.get(f"http://{address}{KEYS}")
            assert (answer.status_code, answer.json()["details"][0]["reason"]) == (403, "FORBIDDEN")

    async def test_only_allowed_networks_are_let_in(self, host: Host) -> None:
        assert await statuses(host, EdgePolicy(allowed=("127.0.0.0/8",)), "") == [200]
        assert await statuses(host, EdgePolicy(allowed=("10.0.0.0/8", "2001:db8::/32")), "") == [403]

    async def test_what_proxies_say_counts_only_for_as_many_as_are_trusted(self, host: Host) -> None:
        denied = EdgePolicy(denied=("203.0.113.0/24",))
        assert await statuses(host, denied, "203.0.113.9") == [200]
        behind = replace(denied, trusted_hops=1)
        assert await statuses(host, behind, "203.0.113.9", "198.51.100.1", "203.0.113.9, 198.51.100.1") == [403, 200, 200]

    async def test_countries_are_looked_up_in_the_database(self, host: Host, tmp_path: Path) -> None:
        database = tmp_path / "countries.mmdb"
        _write_countries(database, {"203.0.113.0/24": "XX", "198.51.100.0/24": "YY"})
        policy = EdgePolicy(trusted_hops=1, geoip_database=database, denied_countries=("XX",))
        assert await statuses(host, policy, "203.0.113.9", "198.51.100.1", "192.0.2.1") == [403, 200, 200]

    async def test_nobody_can_say_where_they_are_from(self, host: Host) -> None:
        policy = EdgePolicy(denied_countries=("XX",))
        async with edge_before(host, policy=policy) as address, httpx.AsyncClient() as client:
            assert (await client.get(f"http://{address}{KEYS}", headers={"x-treadle-country": "XX"})).status_code == 200


def _write_countries(path: Path, countries: dict[str, str]) -> None:
    writer = MMDBWriter(6, "GeoLite2-Country", ipv4_compatible=True)
    for network, code in countries.items():
        writer.insert_network(IPSet([str(ipaddress.ip_network(network))]), {"country": {"iso_code": code}})
    writer.to_db_file(str(path))


class TestSettings:
    """Settings that make no sense are refused by name."""

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"edge_cors_origins": "app.example"}, "CORS_ORIGINS"),
            ({"edge_cors_origins": "https://*"}, "CORS_ORIGINS"),
            ({"edge_cors_origins": "https://a.example/path"}, "CORS_ORIGINS"),
            ({"edge_deny_addresses": "10.0.0.1/8"}, "DENY_ADDRESSES"),
            ({"edge_allow_addresses": "home"}, "ALLOW_ADDRESSES"),
            ({"edge_deny_countries": "XX"}, "GEOIP_DATABASE"),
            ({"edge_tls_listen": "0.0.0.0:8443"}, "TLS_CERTIFICATE"),
            ({"edge_geoip_database": "/nowhere.mmdb"}, "GEOIP_DATABASE"),
        ],
    )
    def test_each_is_named(self, change: dict[str, str], named: str) -> None:
        with pytest.raises(PolicyError, match=named):
            policy_of(local_settings(**change), Path("unused"))

    def test_lists_may_have_spaces(self) -> None:
        made = policy_of(
            local_settings(edge_cors_origins=" https://a.example , https://*.b.example", edge_deny_addresses="10.0.0.0/8, ::1"), Path()
        )
        assert made.origins == ("https://a.example", "https://*.b.example")
        assert made.denied == ("10.0.0.0/8", "::1/128")
