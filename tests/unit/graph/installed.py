"""The installed blocks as the graph service sees them, without asking the block service."""

from functools import cache

from services.block.sdk import BlockRegistry
from services.block.sdk.policy import policy_schema
from services.graph.catalogue import BlockView, Catalogue


@cache
def installed() -> Catalogue:
    """All blocks of the library."""
    return Catalogue(
        (
            BlockView(
                id=block.id,
                name=block.name,
                type=str(block.block_type),
                static_output=block.static_output,
                is_disabled=block.is_disabled,
                input_schema=block.Input.model_json_schema(),
                output_schema=block.Output.model_json_schema(),
            )
            for block in BlockRegistry.installed().all()
        ),
        policy_schema(),
    )


def block_id(name: str) -> str:
    """Id of the block with that class name."""
    return next(block.id for block in installed() if block.name == name)
