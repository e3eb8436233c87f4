"""treadle.auth.v1.ApiKeyService: from messages to the domain and back."""

from datetime import UTC

from treadle.auth.v1 import api_key_service_pb2 as pb

from mesh.call import Call
from mesh.paging import write_token
from services.auth.api_key import ApiKey
from services.auth.api_keys import KeyDesk
from services.auth.paging import before_of

_DEFAULT_PAGE_SIZE = 50


class ApiKeyServicer:
    """The handlers of ApiKeyService."""

    def __init__(self, desk: KeyDesk) -> None:
        self._desk = desk

    async def create_api_key(self, request: pb.CreateApiKeyRequest, call: Call) -> pb.CreateApiKeyResponse:
        """A new key, and its text for this once."""
        expire_time = request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None
        key, text = await self._desk.create(call.caller, request.name, request.scopes, expire_time)
        return pb.CreateApiKeyResponse(api_key=_message(key), secret=text)

    async def get_api_key(self, request: pb.GetApiKeyRequest, call: Call) -> pb.GetApiKeyResponse:
        """One key."""
        return pb.GetApiKeyResponse(api_key=_message(await self._desk.get(call.caller, request.api_key_id)))

    async def list_api_keys(self, request: pb.ListApiKeysRequest, call: Call) -> pb.ListApiKeysResponse:
        """A page of keys."""
        size = request.page_size or _DEFAULT_PAGE_SIZE
        keys = await self._desk.page(call.caller, before_of(request.page_token), size + 1)
        token = write_token(keys[size - 1].id) if len(keys) > size else ""
        return pb.ListApiKeysResponse(api_keys=[_message(key) for key in keys[:size]], next_page_token=token)

    async def suspend_api_key(self, request: pb.SuspendApiKeyRequest, call: Call) -> pb.SuspendApiKeyResponse:
        """The key, suspended or resumed."""
        key = await self._desk.suspend(call.caller, request.api_key_id, is_resumed=request.resume)
        return pb.SuspendApiKeyResponse(api_key=_message(key))

    async def delete_api_key(self, request: pb.DeleteApiKeyRequest, call: Call) -> pb.DeleteApiKeyResponse:
        """Ends the key."""
        await self._desk.delete(call.caller, request.api_key_id)
        return pb.DeleteApiKeyResponse()

    async def verify_api_key(self, request: pb.VerifyApiKeyRequest, call: Call) -> pb.VerifyApiKeyResponse:
        """Whose the key is."""
        known, scopes = await self._desk.verify(request.secret)
        answer = pb.VerifyApiKeyResponse(api_key_id=known.key.id, user_id=known.owner.id, email=known.owner.email, scopes=sorted(scopes))
        if known.key.expire_time is not None:
            answer.expire_time.FromDatetime(known.key.expire_time)
        return answer


def _message(key: ApiKey) -> pb.ApiKey:
    message = pb.ApiKey(id=key.id, name=key.name, prefix=key.prefix, scopes=sorted(key.scopes))
    for name in ("create_time", "expire_time", "suspend_time", "last_use_time"):
        moment = getattr(key, name)
        if moment is not None:
            getattr(message, name).FromDatetime(moment)
    return message
