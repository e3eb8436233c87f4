"""What is known of AutoGPT's blocks without having them: names, credentials, and ids that early exports still use."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

# Early ids that were no UUIDs, and the ids of the same blocks today.
OLD_BLOCK_IDS = {
    "a1b2c3d4-5e6f-7g8h-9i0j-k1l2m3n4o5p6": "436c3984-57fd-4b85-8e9a-459b356883bd",
    "b2g2c3d4-5e6f-7g8h-9i0j-k1l2m3n4o5p6": "0e50422c-6dee-4145-83d6-3a5a392f65de",
    "c3d4e5f6-7g8h-9i0j-1k2l-m3n4o5p6q7r8": "a0a69be1-4528-491c-a85a-a4ab6873e3f0",
    "c3d4e5f6-g7h8-i9j0-k1l2-m3n4o5p6q7r8": "32a87eab-381e-4dd4-bdb8-4c47151be35a",
    "b2c3d4e5-6f7g-8h9i-0j1k-l2m3n4o5p6q7": "87840993-2053-44b7-8da4-187ad4ee518c",
    "h1i2j3k4-5l6m-7n8o-9p0q-r1s2t3u4v5w6": "d0822ab5-9f8a-44a3-8971-531dd0178b6b",
    "d3f4g5h6-1i2j-3k4l-5m6n-7o8p9q0r1s2t": "df06086a-d5ac-4abb-9996-2ad0acb2eff7",
    "h5e7f8g9-1b2c-3d4e-5f6g-7h8i9j0k1l2m": "f5b0f5d0-1862-4d61-94be-3ad0fa772760",
    "a1234567-89ab-cdef-0123-456789abcdef": "4335878a-394e-4e67-adf2-919877ff49ae",
    "f8e7d6c5-b4a3-2c1d-0e9f-8g7h6i5j4k3l": "f66a3543-28d3-4ab5-8945-9b336371e2ce",
    "b29c1b50-5d0e-4d9f-8f9d-1b0e6fcbf0h2": "716a67b3-6760-42e7-86dc-18645c6e00fc",
    "31d1064e-7446-4693-o7d4-65e5ca9110d1": "cc10ff7b-7753-4ff2-9af6-9399b1a7eddc",
    "c6731acb-4105-4zp1-bc9b-03d0036h370g": "5ebe6768-8e5d-41e3-9134-1c7bd89a8d52",
}

_USUAL_PROVIDER = "openai"
_MODEL_STARTS = {"claude": "anthropic", "llama-3": "groq", "llama3": "ollama", "dolphin": "ollama", "Llama-": "llama_api", "v0-": "v0"}


@dataclass(frozen=True, slots=True)
class ForeignBlock:
    """A block of AutoGPT's catalogue. `providers` are those of which it needs a credential (one of them)."""

    name: str
    static_output: bool = False
    providers: tuple[str, ...] = ()
    model: str = ""


@cache
def foreign_blocks() -> dict[str, ForeignBlock]:
    """The catalogue by block id."""
    text = files("services.graph").joinpath("foreign_blocks.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, ForeignBlock])


@dataclass(frozen=True, slots=True)
class CredentialHint:
    """A way to a credential that a document names in its `credentials_input_schema`."""

    providers: tuple[str, ...]
    types: tuple[str, ...]
    mapping: dict[str, str]


def credential_hints(document: dict[str, Any]) -> list[CredentialHint]:
    """What a document says about the credentials it needs; nothing when it has no such part."""
    schema = document.get("credentials_input_schema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    found = []
    for part in properties.values() if isinstance(properties, dict) else ():
        if isinstance(part, dict):
            mapping = part.get("discriminator_mapping")
            found.append(
                CredentialHint(
                    _texts(part.get("credentials_provider")),
                    _texts(part.get("credentials_types")),
                    {str(key): str(value) for key, value in mapping.items()} if isinstance(mapping, dict) else {},
                )
            )
    return found


def needed_credential(block_id: str, constants: dict[str, Any], hints: list[CredentialHint]) -> tuple[str, str] | None:
    """Provider and kind of the credential that a node needs, or None when it needs none or nobody knows."""
    reference = constants.get("credentials")
    if isinstance(reference, dict) and isinstance(reference.get("provider"), str):
        return reference["provider"], str(reference.get("type") or "api_key")
    block = foreign_blocks().get(block_id)
    if block is None or not block.providers:
        return None
    provider = _provider(block, constants, hints)
    kinds = [hint.types[0] for hint in hints if provider in hint.providers and hint.types]
    return provider, kinds[0] if kinds else "api_key"


def _provider(block: ForeignBlock, constants: dict[str, Any], hints: list[CredentialHint]) -> str:
    if len(block.providers) == 1:
        return block.providers[0]
    model = constants.get("model") or block.model
    mapped = [hint.mapping[model] for hint in hints if isinstance(model, str) and model in hint.mapping]
    named = [provider for hint in hints for provider in hint.providers]
    candidates = (*mapped, *named, _provider_of_model(str(model)), _USUAL_PROVIDER)
    return next((provider for provider in candidates if provider in block.providers), block.providers[0])


def _provider_of_model(model: str) -> str:
    """A guess for documents that do not map models to providers."""
    if "/" in model:
        return "open_router"
    return next((provider for start, provider in _MODEL_STARTS.items() if model.startswith(start)), _USUAL_PROVIDER)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
