"""Plans as administrators change them: what they say counts for those it is for, within seconds."""

import time

import httpx
import pytest

from mesh.host import Host
from mesh.ids import uuid7
from mesh.runtime_settings import RuntimeSettings
from mesh.settings import Settings
from services.limit.book import PREFIX
from tests.integration.limit.conftest import PLANS, Admin, Someone, calls, statuses, until
from tests.integration.mesh.hosts import Mesh


async def test_a_plan_of_one_s_own_counts_for_one_alone(client: httpx.AsyncClient, admin: Admin, mesh: Mesh, local: Settings) -> None:
    await admin.set("tiny", {"read": (0.1, 1)})
    one, other = Someone(mesh, local), Someone(mesh, local)
    assert (await admin.assign(f"user.{one.id}", "tiny")).status_code == 200
    assert (await admin.assign(f"user.{one.id}", "none")).status_code == 404
    assert (await admin.assign("everybody", "tiny")).status_code == 400

    async def counts() -> bool:
        return (await calls(client, one.headers, 1))[0].headers["ratelimit-limit"] == "1"

    await until(counts)
    assert statuses(await calls(client, one.headers, 2))[1] == 429
    assert statuses(await calls(client, other.headers, 5)) == [200] * 5


async def test_a_change_counts_within_seconds_for_those_who_call_already(client: httpx.AsyncClient, admin: Admin, someone: Someone) -> None:
    assert set(statuses(await calls(client, someone.headers, 50))) == {200}
    await admin.set("default", {"read": (0.1, 2)})
    started = time.monotonic()

    async def is_refused() -> bool:
        return (await calls(client, someone.headers, 1))[0].status_code == 429

    await until(is_refused)
    assert time.monotonic() - started < 4


async def test_a_bad_setting_is_reported_and_the_last_good_one_counts(
    host: Host, client: httpx.AsyncClient, admin: Admin, someone: Someone
) -> None:
    await admin.set("default", {"read": (0.1, 4)})
    by_hand = RuntimeSettings(host.resources.bus, PREFIX)
    await by_hand.put("plan.default", b'{"read": {"per_second": "lots"}}')

    async def is_reported() -> bool:
        return bool((await admin.listed())["rejected"])

    await until(is_reported)
    assert [item["key"] for item in (await admin.listed())["rejected"]] == ["limits.plan.default"]
    assert statuses(await calls(client, someone.headers, 5)) == [200] * 4 + [429]


@pytest.mark.parametrize(
    "limits",
    [
        [{"rate_class": "RATE_CLASS_READ", "per_second": 0, "burst": 1}],
        [{"rate_class": "RATE_CLASS_READ", "per_second": "NaN", "burst": 1}],
        [{"rate_class": "RATE_CLASS_READ", "per_second": 1, "burst": 0}],
        [{"rate_class": "RATE_CLASS_UNSPECIFIED", "per_second": 1, "burst": 1}],
        [{"rate_class": "RATE_CLASS_READ", "per_second": 1, "burst": 1}] * 2,
    ],
)
async def test_a_plan_that_makes_no_sense_is_refused(client: httpx.AsyncClient, someone: Someone, limits: list[object]) -> None:
    answer = await client.put(f"{PLANS}/default", json={"limits": limits}, headers=someone.headers)
    assert answer.status_code == 400
    assert (await client.put(f"{PLANS}/Bad.Name", json={}, headers=someone.headers)).status_code == 400


async def test_a_plan_is_changed_only_as_it_was_seen(host: Host, client: httpx.AsyncClient, admin: Admin, someone: Someone) -> None:
    name = f"p-{uuid7()}"
    made = await client.put(f"{PLANS}/{name}", json={"limits": []}, headers=someone.headers)
    limits = {"limits": [{"rate_class": "RATE_CLASS_READ", "per_second": 5, "burst": 5}]}
    stale = await client.put(f"{PLANS}/{name}", json=limits, headers={**someone.headers, "if-match": '"other"'})
    assert (stale.status_code, stale.json()["details"][0]["reason"]) == (412, "ETAG_MISMATCH")
    changed = await client.put(f"{PLANS}/{name}", json=limits, headers={**someone.headers, "if-match": made.headers["etag"]})
    assert changed.status_code == 200
    again = await client.put(f"{PLANS}/{name}", json=limits, headers={**someone.headers, "if-match": made.headers["etag"]})
    assert again.status_code == 412

    async def is_shown() -> bool:
        shown = await client.get(f"{PLANS}/{name}", headers=someone.headers)
        return bool(shown.headers.get("etag") == changed.headers["etag"])

    await until(is_shown)
    built_in = await client.get(f"{PLANS}/default", headers=someone.headers)
    same = await client.put(f"{PLANS}/default", json={}, headers={**someone.headers, "if-match": built_in.headers["etag"]})
    assert same.status_code == 200
    assert (await client.get(f"{PLANS}/none", headers=someone.headers)).status_code == 404


async def test_plans_are_for_administrators(client: httpx.AsyncClient, mesh: Mesh, local: Settings) -> None:
    headers = {"authorization": f"Bearer {mesh.auth.token(local, scope='users:read')}"}
    assert (await client.get(PLANS, headers=headers)).status_code == 403
    assert (await client.put(f"{PLANS}/default", json={}, headers=headers)).status_code == 403
