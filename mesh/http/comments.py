"""The comments of the contracts, for documents that are made from them."""

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

# A path into a file descriptor, in the field numbers of descriptor.proto.
_Path = tuple[int, ...]
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED, _INNER_ENUMS, _VALUES, _METHODS = 2, 3, 4, 2, 2


def comments_of(descriptor_set: bytes) -> dict[str, str]:
    """Full name to leading comment. `descriptor_set` is a FileDescriptorSet with source info, as in `gen/descriptor.binpb`."""
    return {name: text for file in FileDescriptorSet.FromString(descriptor_set).file for name, text in _of_file(file)}


def _of_file(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    texts = {tuple(item.path): _joined(item.leading_comments) for item in file.source_code_info.location if item.leading_comments}
    for name, path in _names(file):
        if path in texts:
            yield name, texts[path]


def _names(file: FileDescriptorProto) -> Iterator[tuple[str, _Path]]:
    prefix = f"{file.package}."
    for index, message in enumerate(file.message_type):
        yield from _in_message(message, prefix, (_MESSAGES, index))
    for index, enum in enumerate(file.enum_type):
        yield from _in_enum(enum, prefix, (_ENUMS, index))
    for index, service in enumerate(file.service):
        yield from _in_service(service, prefix, (_SERVICES, index))


def _in_message(message: DescriptorProto, prefix: str, path: _Path) -> Iterator[tuple[str, _Path]]:
    name = prefix + message.name
    yield name, path
    for index, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*path, _FIELDS, index)
    for index, inner in enumerate(message.nested_type):
        yield from _in_message(inner, f"{name}.", (*path, _NESTED, index))
    for index, enum in enumerate(message.enum_type):
        yield from _in_enum(enum, f"{name}.", (*path, _INNER_ENUMS, index))


def _in_enum(enum: EnumDescriptorProto, prefix: str, path: _Path) -> Iterator[tuple[str, _Path]]:
    name = prefix + enum.name
    yield name, path
    for index, value in enumerate(enum.value):
        yield f"{name}.{value.name}", (*path, _VALUES, index)


def _in_service(service: ServiceDescriptorProto, prefix: str, path: _Path) -> Iterator[tuple[str, _Path]]:
    name = prefix + service.name
    yield name, path
    for index, method in enumerate(service.method):
        yield f"{name}.{method.name}", (*path, _METHODS, index)


def _joined(comment: str) -> str:
    return " ".join(comment.split())
