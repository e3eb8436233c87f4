"""What blocks say of their effect is true: the engine repeats pure blocks, and runs them ahead of the journal."""

import pytest

from services.block.sdk import Block, BlockContext, BlockError, BlockRegistry, Effect
from services.block.sdk.inputs import Prepared, input_plan
from services.block.sdk.run import run_block

BLOCKS = BlockRegistry.installed().all()
# They tell the time, pick by chance, write to a log or reach the outside.
NOT_PURE = {
    "DataSamplingBlock",
    "GetCurrentDateAndTimeBlock",
    "GetCurrentDateBlock",
    "GetCurrentTimeBlock",
    "PrintToConsoleBlock",
    "SendWebRequestBlock",
}


def test_blocks_that_depend_on_more_than_their_input_are_not_pure() -> None:
    effects = {block.name: block.effect for block in BLOCKS}
    assert {name for name in NOT_PURE if effects[name] is Effect.PURE} == set()
    assert effects["SendWebRequestBlock"] is Effect.EFFECTFUL


async def outcome(block: Block, data: dict[str, object], ctx: BlockContext) -> list[object]:
    found: list[object] = []
    try:
        found.extend([item async for item in run_block(block, data, ctx)])
    except BlockError as error:
        found.append(error.message)
    return found


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=block.name) for block in BLOCKS if block.effect is Effect.PURE and not (block.may_wait or block.gathers)],
)
async def test_a_pure_block_gives_the_same_for_the_same_input_whoever_runs_it(block: Block) -> None:
    for vector in block.vectors:
        prepared = input_plan(block).prepare(vector.input, {})
        if isinstance(prepared, Prepared):
            first = await outcome(block, dict(prepared.data), BlockContext())
            other = BlockContext(execution_id="e", node_id="n", user_id="u", timezone="Asia/Tokyo", idempotency_key="k")
            assert await outcome(block, dict(prepared.data), other) == first
