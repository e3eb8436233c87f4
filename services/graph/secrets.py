"""Keeps secrets out of documents: what a schema marks as secret, and what is called like one."""

import re
from typing import Any

from services.graph.catalogue import INPUT, BlockView

_SECRET_NAME = re.compile(r"credentials|api_?key|password|token|secret", re.IGNORECASE)
# `max_tokens` and its like are budgets.
_COUNT_NAME = re.compile(r"tokens(_|$)|(^|_)token_(count|limit|budget)|num_token", re.IGNORECASE)


def without_secrets(constants: dict[str, Any], block: BlockView | None) -> tuple[dict[str, Any], list[str]]:
    """The constants without secrets, and the names of what was left out. `block` is None when it is not installed."""
    dropped: list[str] = []
    pins = block.inputs if block else {}
    kept = {}
    for name, value in constants.items():
        if pins.get(name, {}).get("secret") is True or _is_secret(name, value):
            dropped.append(name)
        else:
            kept[name] = _clean(value, name, dropped)
    if block is not None and block.type == INPUT and constants.get("secret") is True and kept.pop("value", None) is not None:
        dropped.append("value")
    return kept, dropped


def _clean(value: Any, path: str, dropped: list[str]) -> Any:
    if isinstance(value, list):
        return [_clean(item, f"{path}[{index}]", dropped) for index, item in enumerate(value)]
    if not isinstance(value, dict) or _is_json_schema(value):
        return value
    kept = {}
    for name, part in value.items():
        if _is_secret(name, part):
            dropped.append(f"{path}.{name}")
        else:
            kept[name] = _clean(part, f"{path}.{name}", dropped)
    return kept


def _is_secret(name: str, value: Any) -> bool:
    if value is None or isinstance(value, bool) or not _SECRET_NAME.search(name):
        return False
    return not (_COUNT_NAME.search(name) and isinstance(value, int | float))


def _is_json_schema(value: dict[str, Any]) -> bool:
    """Schemas stored with agent nodes name inputs like `api_key`; that is no secret."""
    return value.get("type") == "object" and isinstance(value.get("properties"), dict)
