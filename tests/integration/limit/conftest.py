"""An edge with the limit service, Valkey and NATS behind it, and people who call."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from subprocess import Popen

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from mesh.edge.policy import EdgePolicy
from mesh.host import Host, hosted
from mesh.ids import uuid7
from mesh.local import valkey
from mesh.local.ports import free_port
from mesh.local.program import running
from mesh.settings import Settings
from services.limit.app import SERVICE
from tests.integration.mesh.edges import edge_before
from tests.integration.mesh.hosts import Mesh, local_settings

ME = "/v1/users/me"
PLANS = "/v1/limits/plans"
KEYS = "/.well-known/jwks.json"
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Popen[bytes]]]:
    """A Valkey that tests may stop for a while."""
    home, port, password = tmp_path_factory.mktemp("cache"), free_port(), secrets.token_hex(8)
    with running(valkey.prepare(home, port, password, home / "cache.log")) as process:
        yield valkey.url(port, password), process


@pytest.fixture(scope="module")
def local(own_cache: tuple[str, "Popen[bytes]"], nats_url: str) -> Settings:
    return local_settings(cache_url=SecretStr(own_cache[0]), nats_url=nats_url)


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return Mesh()


@pytest_asyncio.fixture(scope="module")
async def host(mesh: Mesh, local: Settings) -> AsyncIterator[Host]:
    async with hosted([*mesh.services(), SERVICE], local) as made:
        yield made


@pytest_asyncio.fixture(scope="module")
async def edge(host: Host) -> AsyncIterator[str]:
    # What stands before the edge says whose address it is: so that a test can have many.
    async with edge_before(host, policy=EdgePolicy(trusted_hops=1)) as address:
        yield address


@pytest_asyncio.fixture
async def client(edge: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{edge}", timeout=20) as made:
        yield made


class Someone:
    """A user with an address of their own, whom no test has heard of before."""

    def __init__(self, mesh: Mesh, local: Settings) -> None:
        self.id = uuid7()
        token = mesh.auth.token(local, user_id=self.id)
        self.headers = {"authorization": f"Bearer {token}", "x-forwarded-for": new_address()}


def new_address() -> str:
    return ".".join(str(10 + secrets.randbelow(200)) for _ in range(4))


@pytest.fixture
def someone(mesh: Mesh, local: Settings) -> Someone:
    return Someone(mesh, local)


@pytest_asyncio.fixture
async def admin(host: Host, someone: "Someone") -> AsyncIterator["Admin"]:
    # Past the edge: who changes the limits of all would soon have none left.
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}", timeout=20) as client:
        made = Admin(client, someone.headers)
        yield made
        for plan in ("default", "address"):
            await made.set(plan, {})


class Admin:
    """Changes plans, and waits until they count."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self._client = client
        self._headers = headers

    async def set(self, plan: str, limits: dict[str, tuple[float, int]]) -> None:
        listed = [{"rate_class": f"RATE_CLASS_{it.upper()}", "per_second": rate, "burst": burst} for it, (rate, burst) in limits.items()]
        answer = await self._client.put(f"{PLANS}/{plan}", json={"limits": listed}, headers=self._headers)
        assert answer.status_code == 200, answer.text

        async def counts() -> bool:
            return answer.json() in (await self.listed())["plans"]

        await until(counts)

    async def assign(self, subject: str, plan: str) -> httpx.Response:
        return await self._client.post(f"{PLANS}/{plan}:assign", json={"subject": subject}, headers=self._headers)

    async def listed(self) -> dict[str, list[dict[str, object]]]:
        answer: dict[str, list[dict[str, object]]] = (await self._client.get(PLANS, headers=self._headers)).json()
        return answer


async def calls(client: httpx.AsyncClient, headers: dict[str, str], times: int, path: str = ME) -> list[httpx.Response]:
    return [await client.get(path, headers=headers) for _ in range(times)]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.05)


def statuses(answers: list[httpx.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


def granted(host: Host) -> float:
    lines = host.metrics.text().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith('treadle_limit_verdicts_total{class="read"'))
