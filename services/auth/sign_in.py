"""Signing up, in and out: the rules, without SQL and without gRPC."""

from dataclasses import dataclass

from mesh.logs import get_logger
from services.auth import errors
from services.auth.account import Account, NewAccount, Refused, default_name, normal_email
from services.auth.passwords import Passwords
from services.auth.repository.accounts import Accounts
from services.auth.roles import OWNER_ROLES, USER_ROLES
from services.auth.tokens import AccessTokens, digest, new_refresh_token

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

    Whoever registers `owner_email` is an administrator.
    """

    def __init__(self, repository: Accounts, passwords: Passwords, tokens: AccessTokens, refresh_ttl_s: int, owner_email: str = "") -> None:
        self._repository = repository
        self._passwords = passwords
        self._tokens = tokens
        self._refresh_ttl_s = refresh_ttl_s
        self._owner_email = owner_email

    async def register(self, email: str, password: str, display_name: str) -> Session:
        """Creates an account and signs it in. Raises ALREADY_EXISTS (EMAIL_TAKEN)."""
        email = normal_email(email)
        password_hash = await self._passwords.hash(password)
        name = display_name.strip() or default_name(email)
        token = new_refresh_token()
        new = NewAccount(email, name, password_hash, OWNER_ROLES if email == self._owner_email else USER_ROLES)
        account = await self._repository.create_account(new, digest(token), self._refresh_ttl_s)
        if account is None:
            raise errors.email_taken()
        _log.info("account_registered", user_id=account.id)
        return self._session(account, token)

    async def login(self, email: str, password: str) -> Session:
        """Signs in. Raises UNAUTHENTICATED (INVALID_CREDENTIALS), the same and as late for an unknown address and a wrong password."""
        known = await self._repository.find_credentials(normal_email(email))
        if not await self._passwords.matches(password, known.password_hash if known else None) or known is None:
            _log.info("login_refused", user_id=known.account.id if known else "")
            raise errors.invalid_credentials()
        account = known.account
        if self._passwords.is_outdated(known.password_hash):
            await self._repository.replace_password_hash(account.id, known.password_hash, await self._passwords.hash(password))
        token = new_refresh_token()
        await self._repository.start_family(account.id, digest(token), self._refresh_ttl_s)
        return self._session(account, token)

    async def refresh(self, refresh_token: str) -> Session:
        """Trades a refresh token. Showing one that was traded before ends its family and raises REFRESH_TOKEN_REUSED."""
        token = new_refresh_token()
        answer = await self._repository.rotate(digest(refresh_token), digest(token), self._refresh_ttl_s)
        if answer is Refused.REUSED:
            _log.warning("refresh_token_reused")
            raise errors.refresh_token_reused()
        if answer is Refused.INVALID:
            raise errors.refresh_token_invalid()
        return self._session(answer, token)

    async def logout(self, refresh_token: str) -> None:
        """Ends the family of the token. Idempotent; unknown tokens are no error."""
        await self._repository.end_family(digest(refresh_token))

    def _session(self, account: Account, refresh_token: str) -> Session:
        return Session(account, self._tokens.issue(account), refresh_token, self._tokens.ttl_s)
