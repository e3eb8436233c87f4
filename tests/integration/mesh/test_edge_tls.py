"""TLS at the edge: a real Envoy with certificates of the tests' own authority."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from treadle.auth.v1.auth_service_pb2 import GetJwksRequest
from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from mesh.edge.policy import EdgePolicy, Tls
from mesh.host import hosted
from mesh.local.ports import free_port
from tests.integration.mesh.certificates import Authority
from tests.integration.mesh.edges import edge_before
from tests.integration.mesh.hosts import Mesh, local_settings

KEYS = "/.well-known/jwks.json"


@dataclass(frozen=True)
class Secured:
    """An edge with TLS on `port` of localhost."""

    authority: Authority
    folder: Path
    port: int
    plain: str

    def connect(self, **versions: ssl.TLSVersion) -> ssl.SSLSocket:
        """A connection with these limits of the context."""
        context = self.authority.trust()
        context.set_alpn_protocols(["h2", "http/1.1"])
        for name, version in versions.items():
            setattr(context, name, version)
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=10), server_hostname="localhost")

    def serial(self) -> int:
        """The serial number of the certificate that the edge shows."""
        with self.connect() as connection:
            shown = connection.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


@pytest_asyncio.fixture(scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    authority, port = Authority(), free_port()
    authority.issue(folder)
    tls = Tls(f"127.0.0.1:{port}", folder / "tls.crt", folder / "tls.key", folder / "secrets.json")
    async with hosted(Mesh().services(), local_settings()) as host, edge_before(host, policy=EdgePolicy(tls=tls)) as plain:
        yield Secured(authority, folder, port, plain)


async def test_browsers_are_told_to_come_by_tls_only_where_they_did(secured: Secured) -> None:
    async with httpx.AsyncClient(verify=secured.authority.trust()) as client:
        answer = await client.get(f"https://localhost:{secured.port}{KEYS}")
        plain = await client.get(f"http://{secured.plain}{KEYS}")
    assert answer.json() == plain.json()
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert "strict-transport-security" not in plain.headers


async def test_grpc_comes_through_the_same_port(secured: Secured) -> None:
    roots = secured.authority.root()
    async with grpc.aio.secure_channel(f"localhost:{secured.port}", grpc.ssl_channel_credentials(roots)) as channel:
        assert (await AuthServiceStub(channel).GetJwks(GetJwksRequest())).keys


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_current_versions_are_spoken_with_forward_secrecy(secured: Secured, version: ssl.TLSVersion) -> None:
    with await asyncio.to_thread(secured.connect, minimum_version=version, maximum_version=version) as connection:
        assert connection.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
        cipher = connection.cipher()
        assert cipher is not None
        assert cipher[0].startswith(("ECDHE-", "TLS_"))
        assert connection.selected_alpn_protocol() == "h2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_old_versions_are_refused(secured: Secured) -> None:
    old = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, OSError)):
        await asyncio.to_thread(secured.connect, minimum_version=old, maximum_version=old)


async def test_a_certificate_that_is_moved_over_the_old_one_is_shown_while_connections_stay(secured: Secured) -> None:
    before = await asyncio.to_thread(secured.serial)
    async with httpx.AsyncClient(verify=secured.authority.trust(), base_url=f"https://localhost:{secured.port}") as client:
        assert (await client.get(KEYS)).status_code == 200
        after = secured.authority.issue(secured.folder)
        async with asyncio.timeout(10):
            while await asyncio.to_thread(secured.serial) != after:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        assert after != before
        assert (await client.get(KEYS)).status_code == 200


async def test_a_broken_certificate_leaves_the_good_one_in_use(secured: Secured) -> None:
    before = await asyncio.to_thread(secured.serial)
    broken = secured.folder / "broken"
    broken.write_text("no certificate")
    broken.rename(secured.folder / "tls.crt")
    for _ in range(5):
        assert await asyncio.to_thread(secured.serial) == before
    after = secured.authority.issue(secured.folder)
    async with asyncio.timeout(10):
        while await asyncio.to_thread(secured.serial) != after:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
