"""Remembers who did what: changes, refusals, and everything that somebody does for somebody else."""

from collections.abc import Callable
from functools import partial

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mesh.audit import BEGUN, AuditRecord, TakesRecords
from mesh.call import Call
from mesh.chain.element import Leave, code_of
from mesh.contract import Method
from mesh.errors import Code, TreadleError

# No resource: the key that makes a repeat safe.
_NO_RESOURCE = "request_id"
_SUFFIX = "_id"
_MAX_CHARS = 100

# Gives the id of a resource that a message names; empty when it names none.
Read = Callable[[Message], str]


class Audit:
    """Records calls when they end: those that change something, those that were refused, those that an administrator made for a user.

    Strangers whom nobody knows are not recorded, or they could fill the log, except at methods that are open to them.
    """

    name = "audit"

    def __init__(self, records: TakesRecords) -> None:
        """`records` takes them."""
        self._records = records

    async def enter(self, call: Call) -> Leave | None:
        """Never refuses."""
        return partial(self._leave, call)

    def _leave(self, call: Call, error: BaseException | None) -> BaseException | None:
        code = code_of(error)
        if _is_worth_it(call, code):
            self._records.add(record_of(call, code.name, error.reason if isinstance(error, TreadleError) else ""))
        return error


class Witness:
    """Records who acts for whom before anything is done. What cannot be recorded does not happen."""

    name = "witness"

    def __init__(self, records: TakesRecords) -> None:
        """`records` writes them."""
        self._records = records

    async def enter(self, call: Call) -> Leave | None:
        """Raises UnavailableError (AUDIT_UNAVAILABLE)."""
        if call.caller.actor_id:
            await self._records.write(record_of(call, BEGUN))
        return None


def record_of(call: Call, code: str, reason: str = "") -> AuditRecord:
    """What is worth remembering of a call so far."""
    caller = call.caller
    return AuditRecord(
        actor_id=caller.actor_id or caller.user_id,
        user_id=caller.user_id,
        session_id=caller.session_id,
        workload=caller.workload,
        service=call.method.service,
        method=call.method.name,
        resources=_resources(call),
        code=code,
        reason=reason,
        source_address=_storable(call.source_address),
        request_id=call.request_id,
    )


def _is_worth_it(call: Call, code: Code) -> bool:
    if code is Code.PERMISSION_DENIED or call.caller.actor_id:
        return True
    if call.method.idempotency == "NO_SIDE_EFFECTS":
        return False
    return code is not Code.UNAUTHENTICATED or call.method.is_public


# By the full name of a method: where its messages name resources. Made when first needed.
_readers: dict[str, tuple[dict[str, Read], dict[str, Read]]] = {}


def _resources(call: Call) -> dict[str, str]:
    readers = _readers.get(call.method.full_name)
    if readers is None:
        readers = _readers[call.method.full_name] = _readers_of(call.method)
    found: dict[str, str] = {}
    for message, named in zip((call.response, call.request), readers, strict=True):
        if message is not None:
            found |= {name: value for name, read in named.items() if (value := read(message))}
    return {**found, **call.about} if call.about else found


def _readers_of(method: Method) -> tuple[dict[str, Read], dict[str, Read]]:
    """Ids stand in fields called `<resource>_id`; that of a resource in the answer, such as one just made, in its field `id`."""
    made: dict[str, Read] = {}
    for field in method.response_descriptor.fields:
        if field.message_type is not None and not field.is_repeated and _is_text(field.message_type.fields_by_name.get("id")):
            made[field.name + _SUFFIX] = partial(_inner_id, field.name)
    made |= _named(method.response_descriptor)
    asked: dict[str, Read] = {
        field.name: partial(_text, field.name) for field in method.request_descriptor.fields if _names_resource(field)
    }
    return made, asked


def _named(message: Descriptor) -> dict[str, Read]:
    return {field.name: partial(_text, field.name) for field in message.fields if _names_resource(field)}


def _names_resource(field: FieldDescriptor) -> bool:
    return field.name.endswith(_SUFFIX) and field.name != _NO_RESOURCE and _is_text(field)


def _is_text(field: FieldDescriptor | None) -> bool:
    return field is not None and field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated


def _text(name: str, message: Message) -> str:
    return _storable(getattr(message, name, ""))


def _inner_id(name: str, message: Message) -> str:
    return _storable(getattr(getattr(message, name, None), "id", ""))


def _storable(text: str) -> str:
    """What clients make up is bounded, and has no character that the database cannot keep."""
    return text[:_MAX_CHARS].replace("\0", "")
