"""Signing up, in and out: the rules, without SQL and without gRPC."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mesh.call import note_about
from mesh.logs import get_logger
from services.auth import errors
from services.auth.account import Account, Client, Ended, NewAccount, Refused, SignedIn, default_name, normal_email
from services.auth.passwords import Passwords
from services.auth.repository.accounts import Accounts
from services.auth.repository.sessions import Sessions
from services.auth.roles import OWNER_ROLES, USER_ROLES
from services.auth.throttle import Throttle
from services.auth.tokens import AccessTokens, digest, new_refresh_token

_UNKNOWN = Client()

_log = get_logger("auth")


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in account and its tokens. `expires_in_s` is the life of the access token."""

    account: Account
    access_token: str
    refresh_token: str
    expires_in_s: int


class SignIn:
    """Gives out tokens. `refresh_ttl_s` is the life of a refresh token; each trade starts it anew.

    Whoever registers `owner_email` is an administrator. `announce` gets the id of each session that has ended.
    """

    def __init__(
        self,
        accounts: Accounts,
        sessions: Sessions,
        *,
        passwords: Passwords,
        tokens: AccessTokens,
        throttle: Throttle,
        announce: Callable[[str], Awaitable[None]],
        refresh_ttl_s: int,
        owner_email: str = "",
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._tokens = tokens
        self._throttle = throttle
        self._announce = announce
        self._refresh_ttl_s = refresh_ttl_s
        self._owner_email = owner_email

    async def register(self, email: str, password: str, display_name: str, client: Client = _UNKNOWN) -> Session:
        """Creates an account and signs it in. Raises ALREADY_EXISTS (EMAIL_TAKEN)."""
        email = normal_email(email)
        password_hash = await self._passwords.hash(password)
        name = display_name.strip() or default_name(email)
        token = new_refresh_token()
        new = NewAccount(email, name, password_hash, OWNER_ROLES if email == self._owner_email else USER_ROLES)
        signed_in = await self._accounts.create(new, digest(token), self._refresh_ttl_s, client)
        if signed_in is None:
            raise errors.email_taken()
        _log.info("account_registered", user_id=signed_in.account.id)
        return self._session(signed_in, token)

    async def login(self, email: str, password: str, client: Client = _UNKNOWN) -> Session:
        """Signs in. Raises UNAUTHENTICATED (INVALID_CREDENTIALS), the same and as late for an unknown address and a wrong password.

        Raises RESOURCE_EXHAUSTED (SIGN_IN_THROTTLED) after too many wrong ones.
        """
        email = normal_email(email)
        await self._throttle.check(email, client.source_address)
        known = await self._accounts.find_credentials(email)
        if not await self._passwords.matches(password, known.password_hash if known else None) or known is None:
            _log.info("login_refused", user_id=known.account.id if known else "")
            if known is not None:
                note_about(user_id=known.account.id)
            await self._throttle.count_failure(email, client.source_address)
            raise errors.invalid_credentials()
        if known.password_hash and self._passwords.is_outdated(known.password_hash):
            new_hash = await self._passwords.hash(password)
            await self._accounts.replace_password_hash(known.account.id, known.password_hash, new_hash)
        await self._throttle.forget(email, client.source_address)
        return await self.begin(known.account, client)

    async def begin(self, account: Account, client: Client) -> Session:
        """Signs in somebody who has proved who they are in whatever way."""
        token = new_refresh_token()
        session_id = await self._sessions.start(account.id, digest(token), self._refresh_ttl_s, client)
        return self._session(SignedIn(account, session_id), token)

    async def refresh(self, refresh_token: str, client: Client = _UNKNOWN) -> Session:
        """Trades a refresh token. Showing one that was traded before ends its session and raises REFRESH_TOKEN_REUSED."""
        token = new_refresh_token()
        answer = await self._sessions.rotate(digest(refresh_token), digest(token), self._refresh_ttl_s, client)
        if isinstance(answer, Ended):
            _log.warning("refresh_token_reused", user_id=answer.account_id)
            note_about(user_id=answer.account_id)
            for session_id in answer.session_ids:
                await self._announce(session_id)
            raise errors.refresh_token_reused()
        if isinstance(answer, Refused):
            raise errors.refresh_token_invalid()
        return self._session(answer, token)

    async def logout(self, refresh_token: str) -> None:
        """Ends the session of the token. Idempotent; unknown tokens are no error."""
        ended = await self._sessions.end_by_token(digest(refresh_token))
        if ended is not None:
            note_about(user_id=ended.account_id, session_id=ended.session_ids[0])
            await self._announce(ended.session_ids[0])

    def _session(self, signed_in: SignedIn, refresh_token: str) -> Session:
        access_token = self._tokens.issue(signed_in.account, signed_in.session_id)
        return Session(signed_in.account, access_token, refresh_token, self._tokens.ttl_s)
