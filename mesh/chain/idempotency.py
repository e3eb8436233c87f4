"""Keys that make a repeated call safe."""

from google.protobuf.message import Message

from mesh.call import Call
from mesh.contract import Method
from mesh.errors import InvalidArgumentError, Violation
from mesh.ids import canonical_uuid

FIELD = "request_id"


class Idempotency:
    """Holds `request_id` of methods that have one to the form of a UUID, so that two callers do not meet on "1" by chance.

    What a repeat returns is the matter of the method's own store: only it knows, in the same transaction, whether the first one happened.
    """

    name = "idempotency"

    def __init__(self) -> None:
        """Learns per method, by full name, whether its request has the field."""
        self._has_field: dict[str, bool] = {}

    def check(self, call: Call, request: Message) -> None:
        """Raises InvalidArgumentError (REQUEST_ID_INVALID) when the id is set and no UUID."""
        if not self._takes_request_id(call.method):
            return
        value: str = getattr(request, FIELD)
        if value and canonical_uuid(value) is None:
            violation = Violation(FIELD, "must be a UUID")
            raise InvalidArgumentError("request_id must be a UUID.", reason="REQUEST_ID_INVALID", violations=[violation])

    def _takes_request_id(self, method: Method) -> bool:
        known = self._has_field.get(method.full_name)
        if known is None:
            known = self._has_field[method.full_name] = FIELD in method.request_descriptor.fields_by_name
        return known
