"""treadle.auth.v1.LinkService: from messages to the domain and back."""

from treadle.auth.v1 import link_service_pb2 as pb

from mesh.call import Call
from services.auth.links import LinkDesk
from services.auth.servicer import client_of


class LinkServicer:
    """The handlers of LinkService."""

    def __init__(self, desk: LinkDesk) -> None:
        self._desk = desk

    async def request_password_reset(self, request: pb.RequestPasswordResetRequest, call: Call) -> pb.RequestPasswordResetResponse:
        """Mails a link."""
        await self._desk.request_reset(request.email)
        return pb.RequestPasswordResetResponse()

    async def reset_password(self, request: pb.ResetPasswordRequest, call: Call) -> pb.ResetPasswordResponse:
        """Sets a new password."""
        await self._desk.reset(request.token, request.new_password)
        return pb.ResetPasswordResponse()

    async def request_email_verification(
        self, request: pb.RequestEmailVerificationRequest, call: Call
    ) -> pb.RequestEmailVerificationResponse:
        """Mails a link."""
        await self._desk.request_verification(call.caller)
        return pb.RequestEmailVerificationResponse()

    async def verify_email(self, request: pb.VerifyEmailRequest, call: Call) -> pb.VerifyEmailResponse:
        """Proves an address."""
        return pb.VerifyEmailResponse(email=(await self._desk.verify(request.token)).email)

    async def create_sign_in_link(self, request: pb.CreateSignInLinkRequest, call: Call) -> pb.CreateSignInLinkResponse:
        """A link for another device."""
        link = await self._desk.create_sign_in(call.caller)
        answer = pb.CreateSignInLinkResponse(link=link.url, token=link.token)
        answer.expire_time.FromDatetime(link.expire_time)
        return answer

    async def redeem_sign_in_link(self, request: pb.RedeemSignInLinkRequest, call: Call) -> pb.RedeemSignInLinkResponse:
        """Signs in."""
        session = await self._desk.redeem_sign_in(request.token, client_of(call))
        return pb.RedeemSignInLinkResponse(
            user_id=session.account.id,
            email=session.account.email,
            access_token=session.access_token,
            refresh_token=session.refresh_token,
            expires_in=session.expires_in_s,
        )
