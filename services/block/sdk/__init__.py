"""What authors of blocks write against, and what the engine runs blocks with.

A block is one class: ids and policy as class attributes, pins as two pydantic models, and an async generator `run`.
"""

from services.block.sdk.base import BareOutput, Block, BlockInput, BlockOutput, BlockResult, PinModel, Vector, pin
from services.block.sdk.context import BlockContext
from services.block.sdk.errors import BlockError, BlockInputError, BlockOutputError
from services.block.sdk.kinds import BlockType, Category, Effect
from services.block.sdk.registry import BlockRegistry
from services.block.sdk.waits import Child, Review, Timer, Wait

__all__ = [
    "BareOutput",
    "Block",
    "BlockContext",
    "BlockError",
    "BlockInput",
    "BlockInputError",
    "BlockOutput",
    "BlockOutputError",
    "BlockRegistry",
    "BlockResult",
    "BlockType",
    "Category",
    "Child",
    "Effect",
    "PinModel",
    "Review",
    "Timer",
    "Vector",
    "Wait",
    "pin",
]
