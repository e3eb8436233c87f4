"""treadle.block.v1.BlockService: from messages to the domain and back."""

from collections.abc import Collection

from treadle.block.v1.block_service_pb2 import (
    BatchGetBlocksRequest,
    BatchGetBlocksResponse,
    ExecuteBlockRequest,
    ExecuteBlockResponse,
    GetBlockAnswer,
    GetBlockRequest,
    GetBlockResponse,
    ListBlocksRequest,
    ListBlocksResponse,
    PinValue,
)
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh.batch import answer_each
from mesh.call import Call
from services.block.catalogue import Catalogue
from services.block.errors import block_disabled
from services.block.sdk import BlockContext
from services.block.trial import parsed_inputs, try_block

# Kept back from the deadline, for the answer to get out in time.
_ANSWER_S = 0.5


class BlockServicer:
    """The handlers of BlockService."""

    def __init__(self, catalogue: Catalogue, http_allow_hosts: Collection[str]) -> None:
        self._catalogue = catalogue
        self._http_allow_hosts = frozenset(http_allow_hosts)

    async def list_blocks(self, request: ListBlocksRequest, call: Call) -> ListBlocksResponse:
        """A page of the catalogue."""
        call.response_headers["etag"] = self._catalogue.etag
        if call.has_answer(self._catalogue.etag):
            return ListBlocksResponse()
        return self._catalogue.page(request.page_size, request.page_token, request.category)

    async def get_block(self, request: GetBlockRequest, call: Call) -> GetBlockResponse:
        """One block."""
        entry = self._catalogue.get(request.block_id)
        call.response_headers["etag"] = entry.etag
        return GetBlockResponse(block=entry.message)

    async def batch_get_blocks(self, request: BatchGetBlocksRequest, call: Call) -> BatchGetBlocksResponse:
        """Several blocks."""
        answers = await answer_each(self.get_block, request.requests, call)
        return BatchGetBlocksResponse(answers=[GetBlockAnswer(response=answer) for answer in answers])

    async def execute_block(self, request: ExecuteBlockRequest, call: Call) -> ExecuteBlockResponse:
        """One run of one block. A failure of the block is part of the answer."""
        entry = self._catalogue.get(request.block_id)
        if entry.block is None or entry.message.is_disabled:
            raise block_disabled(request.block_id, entry.message.disabled_reason)
        ctx = BlockContext(
            user_id=call.caller.user_id,
            idempotency_key=call.request_id,
            http_allow_hosts=self._http_allow_hosts,
        )
        trial = await try_block(entry.block, parsed_inputs(request.inputs.json), ctx, call.remaining_s - _ANSWER_S)
        return ExecuteBlockResponse(
            outputs=[PinValue(name=pin, value=JsonValue(json=text)) for pin, text in trial.outputs],
            error=trial.error,
        )
