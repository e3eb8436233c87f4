"""The block service's handlers, called as the doors call them."""

import time
from typing import Any

import pytest
from treadle.block.v1.block_service_pb2 import Block as BlockMessage
from treadle.block.v1.block_service_pb2 import BlockEffect, ExecuteBlockRequest, GetBlockRequest, ListBlocksRequest
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh.call import Call, Caller
from mesh.contract import methods
from mesh.errors import DeadlineExceededError, InvalidArgumentError, NotFoundError
from services.block.catalogue import Catalogue
from services.block.sdk import BlockRegistry
from services.block.servicer import BlockServicer

CALCULATOR = "b1ab9b19-67a6-406d-abf5-2dba76d00c79"
TIMER = "d67a9c52-5e4e-11e2-bcfd-0800200c9a71"
DICTIONARY = "b924ddf4-de4f-4b56-9a85-358930dcbc91"


@pytest.fixture(scope="module")
def servicer() -> BlockServicer:
    return BlockServicer(Catalogue(BlockRegistry.installed()), [])


def call(name: str, timeout_s: float = 10.0) -> Call:
    method = methods()[f"/treadle.block.v1.BlockService/{name}"]
    return Call(method=method, metadata={}, deadline=time.monotonic() + timeout_s, caller=Caller(user_id="u"))


async def execute(servicer: BlockServicer, block_id: str, inputs: str, timeout_s: float = 10.0) -> Any:
    request = ExecuteBlockRequest(block_id=block_id, inputs=JsonValue(json=inputs))
    return await servicer.execute_block(request, call("ExecuteBlock", timeout_s))


async def test_the_catalogue_is_one_page_in_order_of_names(servicer: BlockServicer) -> None:
    made = call("ListBlocks")
    page = await servicer.list_blocks(ListBlocksRequest(), made)
    names = [block.name for block in page.blocks]
    assert names == sorted(names)
    assert page.next_page_token == ""
    assert made.response_headers["etag"].startswith('"')


async def test_pages_join_up_to_the_catalogue(servicer: BlockServicer) -> None:
    whole = await servicer.list_blocks(ListBlocksRequest(), call("ListBlocks"))
    found: list[BlockMessage] = []
    token = ""
    while True:
        page = await servicer.list_blocks(ListBlocksRequest(page_size=7, page_token=token), call("ListBlocks"))
        found += page.blocks
        token = page.next_page_token
        if not token:
            break
    assert found == list(whole.blocks)


@pytest.mark.parametrize("token", ["%%%", "bm9wZQ", "é"])
async def test_a_foreign_page_token_is_refused(servicer: BlockServicer, token: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        await servicer.list_blocks(ListBlocksRequest(page_token=token), call("ListBlocks"))
    assert refused.value.violations[0].field == "page_token"


async def test_a_category_filters(servicer: BlockServicer) -> None:
    page = await servicer.list_blocks(ListBlocksRequest(category="LOGIC"), call("ListBlocks"))
    assert page.blocks
    assert all("LOGIC" in block.categories for block in page.blocks)


async def test_one_block(servicer: BlockServicer) -> None:
    found = (await servicer.get_block(GetBlockRequest(block_id=CALCULATOR), call("GetBlock"))).block
    assert (found.name, found.effect, found.static_output) == ("CalculatorBlock", BlockEffect.BLOCK_EFFECT_PURE, False)
    assert '"required":["operation","a","b"]' in found.input_schema.json
    with pytest.raises(NotFoundError) as missing:
        await servicer.get_block(GetBlockRequest(block_id="nope"), call("GetBlock"))
    assert missing.value.reason == "BLOCK_NOT_FOUND"


async def test_a_trial_run_keeps_order_and_large_integers(servicer: BlockServicer) -> None:
    answer = await execute(servicer, DICTIONARY, '{"values":{"z":9007199254740993,"a":123456789012345678901234567890}}')
    assert [(item.name, item.value.json) for item in answer.outputs] == [
        ("dictionary", '{"z":9007199254740993,"a":123456789012345678901234567890}')
    ]
    assert answer.error == ""


async def test_a_block_that_fails_is_an_answer(servicer: BlockServicer) -> None:
    answer = await execute(servicer, CALCULATOR, '{"operation":"Power","a":-8,"b":0.5}')
    assert "complex" in answer.error
    assert not answer.outputs


@pytest.mark.parametrize(
    ("inputs", "field"), [("{", "inputs"), ("[]", "inputs"), ('{"operation":"Add","b":1}', "inputs.a"), ("", "inputs.operation")]
)
async def test_inputs_that_do_not_fit_name_the_field(servicer: BlockServicer, inputs: str, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        await execute(servicer, CALCULATOR, inputs)
    assert refused.value.reason == "INPUT_INVALID"
    assert refused.value.violations[0].field == field


async def test_a_block_that_waits_too_long_is_stopped(servicer: BlockServicer) -> None:
    with pytest.raises(DeadlineExceededError):
        await execute(servicer, TIMER, '{"seconds":60}', timeout_s=0.6)
