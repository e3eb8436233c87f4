"""treadle.auth.v1.SigningKeyService: from messages to the domain and back."""

from google.protobuf.timestamp_pb2 import Timestamp
from treadle.auth.v1.signing_key_service_pb2 import (
    ListSigningKeysRequest,
    ListSigningKeysResponse,
    RotateSigningKeyRequest,
    RotateSigningKeyResponse,
    SigningKey,
)

from mesh.call import Call
from services.auth.keys import KeyRecord
from services.auth.rotation import Rotation


class SigningKeyServicer:
    """The handlers of SigningKeyService."""

    def __init__(self, rotation: Rotation) -> None:
        self._rotation = rotation

    async def list_signing_keys(self, request: ListSigningKeysRequest, call: Call) -> ListSigningKeysResponse:
        """The keys, newest first."""
        return ListSigningKeysResponse(keys=[_message(record) for record in await self._rotation.records()])

    async def rotate_signing_key(self, request: RotateSigningKeyRequest, call: Call) -> RotateSigningKeyResponse:
        """A new key."""
        record = await (self._rotation.revoke() if request.revoke else self._rotation.rotate())
        return RotateSigningKeyResponse(key=_message(record))


def _message(record: KeyRecord) -> SigningKey:
    message = SigningKey(kid=record.kid)
    for name in ("create_time", "activate_time", "retire_time"):
        moment = getattr(record, name)
        if moment is not None:
            stamp: Timestamp = getattr(message, name)
            stamp.FromDatetime(moment)
    return message
