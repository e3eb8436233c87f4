"""What an execution shows of its inputs and outputs as they are, and what by reference: all of it must fit into one message. Pure.

References follow from the texts alone, so nothing of them is stored: whoever asks for one by its hash gets it from the same texts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec

from mesh.limits import MAX_MESSAGE_BYTES

# One value, as JSON text. A larger one could be shown to nobody.
MAX_VALUE_BYTES = MAX_MESSAGE_BYTES - 64 * 1024
# All masks of an execution, which are shown as they are.
MAX_MASKS_BYTES = 1024 * 1024
# Of an execution, shown as it is: the names, and the values that are not referred to.
MAX_SHOWN_BYTES = MAX_MESSAGE_BYTES - 512 * 1024
# Outputs that are referred to come in arrays of about this size, so that each fits into a message of its own.
PART_BYTES = 1024 * 1024
# A value that is referred to only when nothing larger is left.
WORTH_BYTES = 64 * 1024
# Fields around a value in a message; a name stands there twice.
_AROUND_BYTES = 40
# UTF-8 takes at most so many bytes for a character of a text.
_BYTES_PER_CHAR = 3

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Piece:
    """JSON text that a reference stands for."""

    content: bytes

    @property
    def sha256(self) -> str:
        """Its hash, as references have it."""
        return sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Shown:
    """An execution's values: JSON text by name, or pieces by name where it is referred to. The pieces of an output are arrays that make
    the whole one after the other. The names are in their order, all of them.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    input_refs: dict[str, Piece] = field(default_factory=dict)
    output_refs: dict[str, list[Piece]] = field(default_factory=dict)


def shown(inputs: str, outputs: str, masks: str) -> Shown:
    """How to show the values of an execution, each given as the text of a JSON object. Large ones are referred to, as few as it takes."""
    given, made = _OBJECT.decode(inputs), _OBJECT.decode(outputs)
    names = tuple(given), tuple(made)
    large: set[tuple[bool, str]] = set()
    if (len(inputs) + len(outputs) + len(masks)) * _BYTES_PER_CHAR > MAX_SHOWN_BYTES:
        large = _too_large(given, made, len(masks.encode()))
    return Shown(
        inputs={name: bytes(value).decode() for name, value in given.items() if (True, name) not in large},
        outputs={name: bytes(value).decode() for name, value in made.items() if (False, name) not in large},
        input_names=names[0],
        output_names=names[1],
        input_refs={name: Piece(bytes(given[name])) for is_input, name in large if is_input},
        output_refs={name: list(_parts(bytes(made[name]))) for is_input, name in large if not is_input},
    )


def content(inputs: str, outputs: str, digest: str) -> str | None:
    """The text that a reference stands for; None when nothing of the execution has this hash."""
    for value in _OBJECT.decode(inputs).values():
        if sha256(bytes(value)).hexdigest() == digest:
            return bytes(value).decode()
    for value in _OBJECT.decode(outputs).values():
        for piece in _parts(bytes(value)):
            if piece.sha256 == digest:
                return piece.content.decode()
    return None


def _too_large(inputs: Mapping[str, msgspec.Raw], outputs: Mapping[str, msgspec.Raw], masks_bytes: int) -> set[tuple[bool, str]]:
    sizes = {(True, name): len(bytes(value)) for name, value in inputs.items()}
    sizes |= {(False, name): len(bytes(value)) for name, value in outputs.items()}
    total = masks_bytes + sum(size + 2 * len(name.encode()) + _AROUND_BYTES for (_, name), size in sizes.items())
    found: set[tuple[bool, str]] = set()
    # What is small saves nothing. Inputs go before outputs: who asks knows them, as a rule.
    for key in sorted(sizes, key=lambda key: (sizes[key] > WORTH_BYTES, key[0], sizes[key]), reverse=True):
        if total <= MAX_SHOWN_BYTES:
            break
        found.add(key)
        total -= sizes[key]
    return found


def _parts(array: bytes) -> Iterator[Piece]:
    """The values of a JSON array in smaller arrays."""
    part: list[bytes] = []
    size = 0
    for value in _ARRAY.decode(array):
        text = bytes(value)
        if part and size + len(text) > PART_BYTES:
            yield Piece(b"[" + b",".join(part) + b"]")
            part, size = [], 0
        part.append(text)
        size += len(text) + 1
    if part:
        yield Piece(b"[" + b",".join(part) + b"]")
