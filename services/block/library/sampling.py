"""Samples of data."""

import random
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from services.block.sdk import Block, BlockContext, BlockError, BlockInput, BlockOutput, BlockResult, Category, Effect, Vector, pin


class SamplingMethod(StrEnum):
    """How DataSamplingBlock picks."""

    RANDOM = "random"
    SYSTEMATIC = "systematic"
    TOP = "top"
    BOTTOM = "bottom"
    STRATIFIED = "stratified"
    WEIGHTED = "weighted"
    RESERVOIR = "reservoir"
    CLUSTER = "cluster"


class DataSamplingBlock(Block):
    """Picks some of many items. The same seed always picks the same ones."""

    id = "4a448883-71fa-49cf-91cf-70d793bd7d87"
    categories = (Category.LOGIC,)
    effect = Effect.IDEMPOTENT

    class Input(BlockInput):
        """The items and how to pick."""

        data: dict[str, Any] | list[dict[str, Any] | list[Any]] = pin(description="The items; a dictionary counts as one")
        sample_size: int = pin(10, description="How many to pick")
        sampling_method: SamplingMethod = pin(SamplingMethod.RANDOM, description="How to pick")
        accumulate: bool = pin(False, description="Not supported: a block keeps nothing between runs; collect with AddToList before it")
        random_seed: int | None = pin(None, description="Seed, to pick the same again")
        stratify_key: str | None = pin(None, description="Key whose values part the items into strata (stratified)")
        weight_key: str | None = pin(None, description="Key of an item's weight (weighted)")
        cluster_key: str | None = pin(None, description="Key whose values part the items into clusters (cluster)")

    class Output(BlockOutput):
        """The picked items."""

        sampled_data: list[Any] = pin(description="The picked items")
        sample_indices: list[int] = pin(description="Their indexes in the data")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when the key that a method needs is not set or an item lacks it, and for `accumulate`."""
        if input.accumulate:
            raise BlockError("accumulate is not supported: a block keeps nothing between runs")
        items = input.data if isinstance(input.data, list) else [input.data]
        size = max(0, min(input.sample_size, len(items)))
        # Not a secret: a sample should be repeatable.
        chance = random.Random(input.random_seed)  # noqa: S311
        indices = _METHODS[input.sampling_method](items, size, chance, input) if size else []
        yield "sampled_data", [items[index] for index in indices]
        yield "sample_indices", indices

    vectors = (
        Vector(
            input={"data": [{"i": 0}, {"i": 1}, {"i": 2}], "sample_size": 2, "sampling_method": "bottom"},
            outputs=[("sampled_data", [{"i": 1}, {"i": 2}]), ("sample_indices", [1, 2])],
        ),
    )


def _random(items: list[Any], size: int, chance: random.Random, _input: DataSamplingBlock.Input) -> list[int]:
    return chance.sample(range(len(items)), size)


def _systematic(items: list[Any], size: int, chance: random.Random, _input: DataSamplingBlock.Input) -> list[int]:
    step = len(items) // size
    start = chance.randint(0, step - 1)
    return list(range(start, len(items), step))[:size]


def _top(_items: list[Any], size: int, _chance: random.Random, _input: DataSamplingBlock.Input) -> list[int]:
    return list(range(size))


def _bottom(items: list[Any], size: int, _chance: random.Random, _input: DataSamplingBlock.Input) -> list[int]:
    return list(range(len(items) - size, len(items)))


def _stratified(items: list[Any], size: int, chance: random.Random, input: DataSamplingBlock.Input) -> list[int]:
    """As many of each stratum as its share; what rounding leaves over is filled by chance."""
    groups = _groups(items, input.stratify_key, "stratify_key")
    picked: list[int] = []
    for members in groups.values():
        share = max(1, int(len(members) / len(items) * size))
        picked += chance.sample(members, min(share, len(members)))
    if len(picked) < size:
        taken = set(picked)
        rest = [index for index in range(len(items)) if index not in taken]
        picked += chance.sample(rest, size - len(picked))
    return picked[:size]


def _weighted(items: list[Any], size: int, chance: random.Random, input: DataSamplingBlock.Input) -> list[int]:
    weights = [_value(item, input.weight_key, "weight_key") for item in items]
    try:
        return chance.choices(range(len(items)), weights=weights, k=size)
    except (TypeError, ValueError) as error:
        raise BlockError(f"The weights are not usable: {error}") from error


def _reservoir(items: list[Any], size: int, chance: random.Random, _input: DataSamplingBlock.Input) -> list[int]:
    picked = list(range(size))
    for index in range(size, len(items)):
        place = chance.randint(0, index)
        if place < size:
            picked[place] = index
    return picked


def _cluster(items: list[Any], size: int, chance: random.Random, input: DataSamplingBlock.Input) -> list[int]:
    """Whole clusters in an order of chance, cut where the sample is full."""
    groups = _groups(items, input.cluster_key, "cluster_key")
    names = list(groups)
    picked: list[int] = []
    while len(picked) < size and names:
        picked += groups[names.pop(chance.choice(range(len(names))))]
    return picked[:size]


_METHODS: Mapping[SamplingMethod, Callable[[list[Any], int, random.Random, DataSamplingBlock.Input], list[int]]] = {
    SamplingMethod.RANDOM: _random,
    SamplingMethod.SYSTEMATIC: _systematic,
    SamplingMethod.TOP: _top,
    SamplingMethod.BOTTOM: _bottom,
    SamplingMethod.STRATIFIED: _stratified,
    SamplingMethod.WEIGHTED: _weighted,
    SamplingMethod.RESERVOIR: _reservoir,
    SamplingMethod.CLUSTER: _cluster,
}


def _value(item: Any, key: str | None, pin_name: str) -> Any:
    if not key:
        raise BlockError(f"{pin_name} is needed for this method")
    if not isinstance(item, dict) or key not in item:
        raise BlockError(f"An item lacks the key '{key}'")
    return item[key]


def _groups(items: list[Any], key: str | None, pin_name: str) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(str(_value(item, key, pin_name)), []).append(index)
    return groups
