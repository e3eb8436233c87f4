"""Nodes that run another agent: their pins are those of that agent, kept in the node's constants."""

from collections.abc import Mapping
from typing import Any

from services.block.sdk.inputs import NotReady, Prepared
from services.block.sdk.pins import merge_inputs, split_pin

# What older documents may lack.
_DEFAULTS: Mapping[str, Any] = {"user_id": "", "graph_version": 0, "inputs": {}, "input_schema": {}, "output_schema": {}}


def agent_constants(constants: Mapping[str, Any]) -> Mapping[str, Any]:
    """Constants for the pins of the agent that a node runs."""
    inputs = constants.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def agent_call(constants: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the block runs with: which agent, and the inputs of the firing for it."""
    return {**_DEFAULTS, **constants, "inputs": {name: value for name, value in inputs.items() if not split_pin(name)[1]}}


class AgentInputs:
    """The input pins of such a node. The agent itself converts and checks what comes when it is started."""

    required: tuple[str, ...] = ("graph_id",)

    def prepare(self, constants: Mapping[str, Any], data: Mapping[str, Any]) -> Prepared | NotReady:
        """The inputs of a firing."""
        try:
            return Prepared(merge_inputs({**constants, **data}))
        except (ValueError, IndexError) as error:
            return NotReady(str(error))
