"""treadle.auth.v1.SessionService: from messages to the domain and back."""

from treadle.auth.v1 import session_service_pb2 as pb

from mesh.call import Call
from mesh.paging import write_token
from services.auth.account import KnownSession
from services.auth.paging import before_of
from services.auth.session_desk import SessionDesk

_DEFAULT_PAGE_SIZE = 50


class SessionServicer:
    """The handlers of SessionService."""

    def __init__(self, desk: SessionDesk) -> None:
        self._desk = desk

    async def list_sessions(self, request: pb.ListSessionsRequest, call: Call) -> pb.ListSessionsResponse:
        """A page of sessions."""
        size = request.page_size or _DEFAULT_PAGE_SIZE
        found = await self._desk.page(call.caller, before_of(request.page_token), size + 1)
        token = write_token(found[size - 1].id) if len(found) > size else ""
        shown = [_message(session, call.caller.session_id) for session in found[:size]]
        return pb.ListSessionsResponse(sessions=shown, next_page_token=token)

    async def end_session(self, request: pb.EndSessionRequest, call: Call) -> pb.EndSessionResponse:
        """Signs one device out."""
        await self._desk.end(call.caller, request.session_id)
        return pb.EndSessionResponse()

    async def end_all_sessions(self, request: pb.EndAllSessionsRequest, call: Call) -> pb.EndAllSessionsResponse:
        """Signs all devices out."""
        return pb.EndAllSessionsResponse(ended=await self._desk.end_all(call.caller, is_current_kept=request.keep_current))

    async def change_password(self, request: pb.ChangePasswordRequest, call: Call) -> pb.ChangePasswordResponse:
        """Changes the password."""
        await self._desk.change_password(call.caller, request.current_password, request.new_password, call.source_address)
        return pb.ChangePasswordResponse()

    async def set_roles(self, request: pb.SetRolesRequest, call: Call) -> pb.SetRolesResponse:
        """Gives an account roles."""
        account = await self._desk.set_roles(request.email, request.roles)
        return pb.SetRolesResponse(user_id=account.id, roles=sorted(account.roles))


def _message(session: KnownSession, current_id: str) -> pb.Session:
    message = pb.Session(
        id=session.id,
        source_address=session.source_address,
        user_agent=session.user_agent,
        is_current=session.id == current_id,
    )
    for name in ("create_time", "last_use_time", "expire_time"):
        getattr(message, name).FromDatetime(getattr(session, name))
    return message
