"""treadle.user.v1.PrivacyService: from messages to the domain and back."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from treadle.user.v1 import privacy_service_pb2 as pb
from treadle.user.v1.personal_data_service_pb2 import ExportPersonalDataRequest
from treadle.user.v1.personal_data_service_pb2_grpc import PersonalDataServiceStub

from mesh.call import Call
from mesh.clients import Clients
from mesh.ids import canonical_uuid
from mesh.outbox import Post
from mesh.paging import invalid_token, position_of, position_token, read_token, write_token
from services.user.archive import zipped
from services.user.privacy import Consent, Deletion, check_email
from services.user.privacy_repository import PrivacyRepository

if TYPE_CHECKING:
    from treadle.user.v1.personal_data_service_pb2_grpc import PersonalDataServiceAsyncStub

_DEFAULT_PAGE_SIZE = 50


class PrivacyServicer:
    """The handlers of PrivacyService."""

    def __init__(self, repository: PrivacyRepository, clients: Clients, post: Post) -> None:
        """`clients` reach the services that hold something."""
        self._repository = repository
        self._clients = clients
        self._post = post

    async def export_my_data(self, _: pb.ExportMyDataRequest, call: Call) -> AsyncIterator[pb.ExportMyDataResponse]:
        """An archive of all that the services hold of the caller."""
        call.response_headers["content-disposition"] = 'attachment; filename="my-data.zip"'
        async for content in zipped(self._pieces()):
            yield pb.ExportMyDataResponse(content=content)

    async def delete_my_account(self, request: pb.DeleteMyAccountRequest, call: Call) -> pb.DeleteMyAccountResponse:
        """Requests the deletion."""
        check_email(call.caller, request.email)
        deletion = await self._repository.request(call.caller.user_id)
        self._post.wake()
        return pb.DeleteMyAccountResponse(deletion=self._deletion(deletion))

    async def list_account_deletions(self, request: pb.ListAccountDeletionsRequest, _: Call) -> pb.ListAccountDeletionsResponse:
        """A page of deletions."""
        size = request.page_size or _DEFAULT_PAGE_SIZE
        found = await self._repository.deletions(position_of(request.page_token), size + 1)
        token = position_token(found[size - 1].request_time, found[size - 1].user_id) if len(found) > size else ""
        return pb.ListAccountDeletionsResponse(deletions=map(self._deletion, found[:size]), next_page_token=token)

    async def record_consent(self, request: pb.RecordConsentRequest, call: Call) -> pb.RecordConsentResponse:
        """Records a consent."""
        consent = await self._repository.record(
            call.caller.user_id, request.document, request.version, call.source_address, is_granted=request.is_granted
        )
        return pb.RecordConsentResponse(consent=_consent(consent))

    async def list_consents(self, request: pb.ListConsentsRequest, call: Call) -> pb.ListConsentsResponse:
        """A page of consents."""
        size = request.page_size or _DEFAULT_PAGE_SIZE
        found = await self._repository.consents(call.caller.user_id, _before(request.page_token), size + 1)
        token = write_token(found[size - 1].id) if len(found) > size else ""
        return pb.ListConsentsResponse(consents=map(_consent, found[:size]), next_page_token=token)

    async def _pieces(self) -> AsyncIterator[tuple[str, bytes]]:
        for service in self._repository.services:
            stub: PersonalDataServiceAsyncStub = PersonalDataServiceStub(self._clients.channel(service))
            async for piece in stub.ExportPersonalData(ExportPersonalDataRequest(service=service)):
                yield f"{service}/{piece.file}", piece.content

    def _deletion(self, deletion: Deletion) -> pb.AccountDeletion:
        message = pb.AccountDeletion(
            user_id=deletion.user_id,
            erased_by=sorted(deletion.erased_by),
            waiting_for=deletion.waiting_for(self._repository.services),
        )
        message.request_time.FromDatetime(deletion.request_time)
        if deletion.complete_time is not None:
            message.complete_time.FromDatetime(deletion.complete_time)
        return message


def _consent(consent: Consent) -> pb.Consent:
    message = pb.Consent(
        id=consent.id,
        document=consent.document,
        version=consent.version,
        is_granted=consent.is_granted,
        source_address=consent.source_address,
    )
    message.create_time.FromDatetime(consent.create_time)
    return message


def _before(page_token: str) -> str | None:
    parts = read_token(page_token, (str,))
    if parts is None:
        return None
    if canonical_uuid(str(parts[0])) is None:
        raise invalid_token()
    return str(parts[0])
