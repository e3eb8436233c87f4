"""treadle.auth.v1.OidcService: from messages to the domain and back."""

from treadle.auth.v1 import oidc_service_pb2 as pb

from mesh.call import Call
from services.auth.oidc import OidcDesk
from services.auth.servicer import client_of


class OidcServicer:
    """The handlers of OidcService."""

    def __init__(self, desk: OidcDesk) -> None:
        self._desk = desk

    async def list_oidc_providers(self, request: pb.ListOidcProvidersRequest, call: Call) -> pb.ListOidcProvidersResponse:
        """Their names."""
        return pb.ListOidcProvidersResponse(providers=self._desk.names)

    async def start_oidc_login(self, request: pb.StartOidcLoginRequest, call: Call) -> pb.StartOidcLoginResponse:
        """Sends the user away."""
        url, token = await self._desk.start(request.provider)
        return pb.StartOidcLoginResponse(authorization_url=url, login_token=token)

    async def finish_oidc_login(self, request: pb.FinishOidcLoginRequest, call: Call) -> pb.FinishOidcLoginResponse:
        """Signs in who came back."""
        session, is_new = await self._desk.finish(request.provider, request.login_token, request.state, request.code, client_of(call))
        return pb.FinishOidcLoginResponse(
            user_id=session.account.id,
            email=session.account.email,
            access_token=session.access_token,
            refresh_token=session.refresh_token,
            expires_in=session.expires_in_s,
            is_new=is_new,
        )
