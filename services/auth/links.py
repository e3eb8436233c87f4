"""Asking for links and using them: the rules, without SQL and without gRPC."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import orjson

from mesh.call import Caller, note_about
from mesh.logs import get_logger
from mesh.outbox import Post
from mesh.streams import MAIL_SUBJECT
from services.auth import errors
from services.auth.account import Account, Client, normal_email
from services.auth.link import LIFE_S, LinkSigner, NewLink, Purpose
from services.auth.passwords import Passwords
from services.auth.repository.accounts import Accounts
from services.auth.repository.links import Links
from services.auth.sign_in import Session, SignIn

# Mails of one kind that an account gets within an hour.
MAX_MAILS = 5
_TEMPLATES = {Purpose.RESET: "password_reset", Purpose.VERIFY: "email_verification"}

_log = get_logger("auth")


class LinkDesk:
    """Links of all users. `announce` gets the id of each session that a new password has ended."""

    def __init__(
        self,
        accounts: Accounts,
        links: Links,
        *,
        signer: LinkSigner,
        post: Post,
        passwords: Passwords,
        sign_in: SignIn,
        announce: Callable[[str], Awaitable[None]],
    ) -> None:
        self._accounts = accounts
        self._links = links
        self._signer = signer
        self._post = post
        self._passwords = passwords
        self._sign_in = sign_in
        self._announce = announce

    async def request_reset(self, email: str) -> None:
        """Mails a link, if there is such an account and it has not had too many."""
        known = await self._accounts.find_credentials(normal_email(email))
        if known is not None:
            note_about(user_id=known.account.id)
            await self._mail(known.account, Purpose.RESET)

    async def reset(self, token: str, new_password: str) -> None:
        """Sets a new password. Raises LINK_INVALID."""
        link_id = self._signer.read(token, Purpose.RESET)
        # Only who has a link that was ours costs a hash.
        done = await self._links.reset_password(link_id, await self._passwords.hash(new_password)) if link_id else None
        if done is None:
            raise errors.link_invalid()
        account_id, ended = done
        _log.info("password_reset", user_id=account_id)
        note_about(user_id=account_id)
        for session_id in ended:
            await self._announce(session_id)

    async def request_verification(self, caller: Caller) -> None:
        """Mails the caller a link, unless the address is proved or has had too many."""
        known = await self._accounts.get_credentials(caller.user_id)
        if known is not None and not known.account.is_email_verified:
            await self._mail(known.account, Purpose.VERIFY)

    async def verify(self, token: str) -> Account:
        """Proves an address. Raises LINK_INVALID."""
        link_id = self._signer.read(token, Purpose.VERIFY)
        account = await self._links.verify_email(link_id) if link_id else None
        if account is None:
            raise errors.link_invalid()
        note_about(user_id=account.id)
        return account

    async def create_sign_in(self, caller: Caller) -> NewLink:
        """A link that signs the caller in elsewhere."""
        known = await self._accounts.get_credentials(caller.user_id)
        if known is None:
            raise errors.invalid_credentials()
        link_id, expire_time = await self._links.create(known.account, Purpose.SIGN_IN, LIFE_S[Purpose.SIGN_IN])
        return self._signer.link(link_id, Purpose.SIGN_IN, expire_time)

    async def redeem_sign_in(self, token: str, client: Client) -> Session:
        """Signs in. Raises LINK_INVALID."""
        link_id = self._signer.read(token, Purpose.SIGN_IN)
        account = await self._links.sign_in(link_id) if link_id else None
        if account is None:
            raise errors.link_invalid()
        return await self._sign_in.begin(account, client)

    async def _mail(self, account: Account, purpose: Purpose) -> None:
        def compose(link_id: str, expire_time: datetime) -> tuple[str, str]:
            link = self._signer.link(link_id, purpose, expire_time)
            data = {"link": link.url, "name": account.display_name, "expire_time": expire_time.isoformat()}
            return MAIL_SUBJECT, orjson.dumps({"to": account.email, "template": _TEMPLATES[purpose], "data": data}).decode()

        if await self._links.create_mailed(account, purpose, LIFE_S[purpose], compose, MAX_MAILS):
            self._post.wake()
        else:
            _log.warning("mail_withheld", user_id=account.id, purpose=purpose.value)
