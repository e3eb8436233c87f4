"""The catalogue of installed blocks, built once: it cannot change while the process lives."""

import hashlib
import logging
from dataclasses import dataclass

from cachetools import LRUCache
from treadle.block.v1.block_service_pb2 import Block as BlockMessage
from treadle.block.v1.block_service_pb2 import BlockEffect, ListBlocksResponse
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh import jsontext
from mesh.paging import invalid_token, read_token, write_token
from services.block.errors import block_not_found
from services.block.sdk import Block, BlockRegistry, Effect
from services.block.sdk.policy import policy_schema
from services.block.sdk.registry import Broken

DEFAULT_PAGE_SIZE = 1000
# Pages that are kept: everybody asks for the same few.
MAX_PAGES = 64
_NO_PINS = '{"type":"object","properties":{}}'
_LOG = logging.getLogger(__name__)
_EFFECTS = {
    Effect.PURE: BlockEffect.BLOCK_EFFECT_PURE,
    Effect.IDEMPOTENT: BlockEffect.BLOCK_EFFECT_IDEMPOTENT,
    Effect.EFFECTFUL: BlockEffect.BLOCK_EFFECT_EFFECTFUL,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A block, how clients see it, and the entity tag of that. `block` is None for what is broken: it is listed, but cannot run."""

    block: Block | None
    message: BlockMessage
    etag: str


class Catalogue:
    """All blocks by id and in order of their names. Answers are shared between calls: do not change them."""

    def __init__(self, registry: BlockRegistry) -> None:
        """Describes every block of the registry; those that are broken, or cannot be described, as disabled."""
        found = [_entry_or_broken(block) for block in registry.all()]
        known = {entry.message.id for entry in found}
        found += [_broken_entry(broken.id or full_name, broken) for full_name, broken in registry.broken.items() if broken.id not in known]
        found.sort(key=lambda entry: (entry.message.name, entry.message.id))
        self._entries = {entry.message.id: entry for entry in found}
        self._pages: LRUCache[tuple[int, str, str], ListBlocksResponse] = LRUCache(MAX_PAGES)
        self.etag = _tag("".join(entry.etag for entry in self._entries.values()).encode())

    def get(self, block_id: str) -> Entry:
        """Raises NotFoundError."""
        try:
            return self._entries[block_id]
        except KeyError:
            raise block_not_found(block_id) from None

    def page(self, page_size: int, page_token: str, category: str) -> ListBlocksResponse:
        """Blocks of a category (all when empty) after the token. Raises InvalidArgumentError for a token that is not ours."""
        size = page_size or DEFAULT_PAGE_SIZE
        key = min(size, len(self._entries)), page_token, category
        page = self._pages.get(key)
        if page is None:
            page = self._pages[key] = self._made(*key)
        return page

    def _made(self, size: int, page_token: str, category: str) -> ListBlocksResponse:
        entries = [entry for entry in self._entries.values() if not category or category in entry.message.categories]
        start = _after(page_token, entries)
        found = entries[start : start + size]
        is_last = start + size >= len(entries)
        return ListBlocksResponse(
            blocks=[entry.message for entry in found],
            next_page_token="" if is_last else write_token(found[-1].message.id),
            metadata_schema=JsonValue(json=jsontext.dumps(policy_schema())),
        )


def _entry_or_broken(block: Block) -> Entry:
    try:
        return _entry(block)
    except Exception as error:  # noqa: BLE001,RUF100 - a plugin that cannot be described disables only itself
        _LOG.warning("block_disabled", extra={"block": block.name, "reason": str(error)})
        return _broken_entry(block.id, Broken(block.name, f"{type(error).__name__}: {error}", block.id))


def _broken_entry(block_id: str, broken: Broken) -> Entry:
    message = BlockMessage(id=block_id, name=broken.name, is_disabled=True, disabled_reason=broken.reason)
    message.input_schema.json = message.output_schema.json = _NO_PINS
    return Entry(None, message, _tag(message.SerializeToString(deterministic=True)))


def _entry(block: Block) -> Entry:
    message = BlockMessage(
        id=block.id,
        name=block.name,
        description=block.description,
        categories=[category.value for category in block.categories],
        input_schema=JsonValue(json=jsontext.dumps(block.Input.model_json_schema())),
        output_schema=JsonValue(json=jsontext.dumps(block.Output.model_json_schema(mode="serialization"))),
        static_output=block.static_output,
        effect=_EFFECTS[block.effect],
        type=block.block_type.value,
        is_disabled=block.is_disabled,
    )
    return Entry(block, message, _tag(message.SerializeToString(deterministic=True)))


def _tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _after(token: str, entries: list[Entry]) -> int:
    """The position after the block that the token names; 0 for the first page."""
    key = read_token(token, (str,))
    if key is None:
        return 0
    for position, entry in enumerate(entries):
        if entry.message.id == key[0]:
            return position + 1
    raise invalid_token()
