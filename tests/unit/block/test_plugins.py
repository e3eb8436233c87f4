"""A package of blocks with faults disables those blocks, says why, and nothing else suffers."""

import sys
import time
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from treadle.block.v1.block_service_pb2 import ExecuteBlockRequest, ListBlocksRequest

from mesh.call import Call, Caller
from mesh.contract import methods
from mesh.errors import FailedPreconditionError
from services.block.catalogue import Catalogue
from services.block.sdk import BlockRegistry
from services.block.servicer import BlockServicer

GOOD = '''
from services.block.sdk import Block, BlockInput, BlockOutput, Effect, Vector, pin

class {name}(Block):
    """Says hello."""
    id = "{id}"
    effect = Effect.PURE
    class Input(BlockInput):
        who: str = pin(description="Who")
    class Output(BlockOutput):
        text: str = pin(description="Greeting")
    async def run(self, input, ctx):
        yield "text", f"Hello {{input.who}}"
'''
FILES = {
    "__init__.py": "",
    "good.py": GOOD.format(name="HelloBlock", id="plugin-hello"),
    "raises.py": "raise RuntimeError('no driver')",
    "leaves.py": "import sys; sys.exit(3)",
    "missing.py": "import a_module_that_nobody_has",
    "unsound.py": GOOD.format(name="UnsoundBlock", id="plugin-unsound").replace("who: str", "who: 'NoSuchType'"),
    "twice.py": GOOD.format(name="TwiceBlock", id="plugin-hello"),
    "strange.py": GOOD.format(name="StrangeBlock", id="plugin-strange").replace("effect =", "categories = ('no category',)\n    effect ="),
    "nested/__init__.py": "raise ValueError('half installed')",
    "nested/more.py": GOOD.format(name="NeverBlock", id="plugin-never"),
    "deeper/__init__.py": "",
    "deeper/fine.py": GOOD.format(name="FineBlock", id="plugin-fine"),
}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockRegistry]:
    for name, text in FILES.items():
        path = tmp_path / "some_plugin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = BlockRegistry()
    found.load(
        EntryPoint(name, value, "treadle.blocks") for name, value in (("a", "some_plugin"), ("b", "no_such_plugin"), ("c", "os:sep"))
    )
    yield found
    for name in [name for name in sys.modules if name.partition(".")[0] == "some_plugin"]:
        del sys.modules[name]


def test_sound_blocks_of_a_faulty_package_work(registry: BlockRegistry) -> None:
    assert {block.name for block in registry.all()} >= {"HelloBlock", "FineBlock"}
    reasons = {name: broken.reason for name, broken in registry.broken.items()}
    assert reasons["some_plugin.raises"] == "RuntimeError: no driver"
    assert reasons["some_plugin.leaves"] == "SystemExit: 3"
    assert reasons["some_plugin.nested"] == "ValueError: half installed"
    assert "a_module_that_nobody_has" in reasons["some_plugin.missing"]
    assert "no_such_plugin" in reasons["no_such_plugin"]
    assert reasons["some_plugin.twice.TwiceBlock"] == "its id plugin-hello belongs to HelloBlock"
    assert "'/'" in reasons or any("no block class" in reason for reason in reasons.values())
    assert registry.broken["some_plugin.unsound.UnsoundBlock"].id == "plugin-unsound"


def call(name: str) -> Call:
    method = methods()[f"/treadle.block.v1.BlockService/{name}"]
    return Call(method=method, metadata={}, deadline=time.monotonic() + 10, caller=Caller(user_id="u"))


async def test_the_catalogue_shows_what_is_disabled_and_why(registry: BlockRegistry) -> None:
    servicer = BlockServicer(Catalogue(registry), [])
    page = await servicer.list_blocks(ListBlocksRequest(), call("ListBlocks"))
    shown = {block.id: block for block in page.blocks}
    assert not shown["plugin-hello"].is_disabled
    assert shown["plugin-unsound"].name == "UnsoundBlock"
    assert "NoSuchType" in shown["plugin-unsound"].disabled_reason
    assert shown["plugin-strange"].is_disabled
    assert shown["some_plugin.raises"].disabled_reason == "RuntimeError: no driver"
    assert all(block.is_disabled == bool(block.disabled_reason) for block in page.blocks)
    names = [block.name for block in page.blocks]
    assert names == sorted(names)


@pytest.mark.parametrize("block_id", ["plugin-unsound", "some_plugin.raises"])
async def test_a_disabled_block_does_not_run(registry: BlockRegistry, block_id: str) -> None:
    servicer = BlockServicer(Catalogue(registry), [])
    with pytest.raises(FailedPreconditionError) as caught:
        await servicer.execute_block(ExecuteBlockRequest(block_id=block_id), call("ExecuteBlock"))
    assert caught.value.reason == "BLOCK_DISABLED"
