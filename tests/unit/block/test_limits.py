"""Patterns and templates of users can hold up neither the event loop nor the memory."""

import asyncio
import time

import pytest

from services.block.library.support import offload
from services.block.sdk import BlockContext, BlockError, BlockRegistry
from services.block.sdk.run import Suspended, run_block, run_now

MATCH = "3060088f-6ed9-4928-9ba7-9c92823a7ccd"
TEMPLATE = "db7d8f02-2f44-4c55-ab7a-eae0941f0c30"
CTX = BlockContext()
# Far more than a slow machine needs between two beats, far less than the work would take.
MAX_STALL_S = 0.5
NESTED = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("block_id", "data"),
    [
        (MATCH, {"text": "a" * 5000 + "b", "match": "(a+)+c", "data": "d"}),
        (TEMPLATE, {"values": {}, "format": NESTED}),
    ],
)
async def test_endless_work_is_stopped_and_stalls_nobody(block_id: str, data: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "LIMIT_S", 0.6)
    block = BlockRegistry.installed().get(block_id)
    assert block is not None
    with pytest.raises(Suspended):
        list(run_now(block, data, CTX))
    stalls: list[float] = []

    async def beat() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            stalls.append(time.monotonic() - before)

    beating = asyncio.create_task(beat())
    with pytest.raises(BlockError, match="longer than"):
        _ = [item async for item in run_block(block, data, CTX)]
    beating.cancel()
    assert max(stalls) < MAX_STALL_S


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 10000000000 }}",
        "{{ '%1000000000d' % 3 }}",
        "{{ '%*d' % (1000000000, 3) }}",
        "{{ 'a'.ljust(10000000000) }}",
        "{{ 'a'|center(10000000000) }}",
        "{{ '{:10000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 10000000000) }}",
        "{{ ('a' * 999999).replace('a', 'b' * 999999) }}",
        "{{ (['a' * 999] * 99999)|join }}",
        "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        "{{ 9 ** 9999 }}",
    ],
)
def test_a_template_cannot_take_all_memory(template: str) -> None:
    block = BlockRegistry.installed().get(TEMPLATE)
    assert block is not None
    with pytest.raises(BlockError, match=r"larger than|too large"):
        list(run_now(block, {"values": {}, "format": template}, CTX))


@pytest.mark.parametrize("template", ["{{ ''.__class__.__mro__ }}", "{{ values.__init__.__globals__ }}", "{% bad %}"])
def test_a_template_cannot_leave_the_sandbox(template: str) -> None:
    block = BlockRegistry.installed().get(TEMPLATE)
    assert block is not None
    with pytest.raises(BlockError):
        list(run_now(block, {"values": {"values": {}}, "format": template}, CTX))


def test_ordinary_templates_work_under_the_limits() -> None:
    block = BlockRegistry.installed().get(TEMPLATE)
    assert block is not None
    template = (
        "{% for row in rows %}{{ loop.index }}/{{ loop.length }} {{ row.name ~ ':' }} {{ '%.2f'|format(row.sum) }}\n{% endfor %}"
        "{{ rows|map(attribute='name')|join(', ') }}{% for k, v in total.items() %} {{ k }}={{ v }}{% endfor %}"
    )
    values = {"rows": [{"name": "a", "sum": 1}, {"name": "b", "sum": 2.5}], "total": {"n": 2}}
    assert list(run_now(block, {"values": values, "format": template}, CTX)) == [("output", "1/2 a: 1.00\n2/2 b: 2.50\na, b n=2")]


@pytest.mark.parametrize(
    ("block_id", "data"),
    [
        ("7e7c87ab-3469-4bcc-9abe-67705091b713", {"text": "a" * 100_000, "old": "a", "new": "b" * 1000}),
        ("e30a4d42-7b7d-4e6a-b36e-1f9b8e3b7d85", {"input": [""] * 100_000, "delimiter": "b" * 1000}),
    ],
)
def test_a_small_input_cannot_make_a_huge_text(block_id: str, data: dict[str, object]) -> None:
    block = BlockRegistry.installed().get(block_id)
    assert block is not None
    with pytest.raises(BlockError, match="longer than"):
        list(run_now(block, data, CTX))


@pytest.mark.parametrize(
    ("block_id", "data"),
    [
        ("d3a7d896-3b78-4f44-8b4b-48fbf4f0bcd8", {"text": "```py " * 50_000}),
        ("2570e8fe-8447-43ed-84c7-70d657923231", {"text": "\\N{" * 50_000}),
    ],
)
def test_work_grows_with_the_text_not_with_its_square(block_id: str, data: dict[str, object]) -> None:
    block = BlockRegistry.installed().get(block_id)
    assert block is not None
    before = time.process_time()
    list(run_now(block, data, CTX))
    assert time.process_time() - before < 2
