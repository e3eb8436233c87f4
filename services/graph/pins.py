"""Names of pins and the paths that may follow them. Which part of a value a path picks is the engine's business."""

import re

# A list index, a key of an object, an attribute.
_PATH = re.compile(r"_\$_|_#_|_@_")
TOOLS = "tools"


def base_name(name: str) -> str:
    """The pin itself: what stands before the first path mark."""
    return _PATH.split(name, maxsplit=1)[0]


def is_tool_pin(name: str) -> bool:
    """True for `tools` and `tools_^_…`: pins over which a model calls the node at the other end."""
    return name == TOOLS or name.startswith(f"{TOOLS}_^_")


def is_credentials_pin(name: str) -> bool:
    """True for pins that hold a reference to a credential; also the names that no agent input may have."""
    return name == "credentials" or name.endswith("_credentials")
