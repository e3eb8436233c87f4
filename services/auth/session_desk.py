"""What somebody who is signed in may do with their sessions and their password: the rules, without SQL and without gRPC."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from mesh.call import Caller, note_about
from mesh.ids import canonical_uuid
from mesh.logs import get_logger
from services.auth import errors
from services.auth.account import Account, KnownSession, normal_email
from services.auth.passwords import Passwords
from services.auth.repository.accounts import Accounts
from services.auth.repository.sessions import Sessions
from services.auth.roles import USER_ROLES, Role
from services.auth.throttle import Throttle

_log = get_logger("auth")


class SessionDesk:
    """Sessions and passwords of all users. `announce` gets the id of each session that has ended."""

    def __init__(
        self, accounts: Accounts, sessions: Sessions, passwords: Passwords, throttle: Throttle, announce: Callable[[str], Awaitable[None]]
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._throttle = throttle
        self._announce = announce

    async def page(self, caller: Caller, before: str | None, size: int) -> Sequence[KnownSession]:
        """The caller's open sessions that began before the one with the id `before`, newest first."""
        return await self._sessions.page(caller.user_id, before, size)

    async def end(self, caller: Caller, session_id: str) -> None:
        """Ends a session of the caller. Raises NOT_FOUND (SESSION_NOT_FOUND)."""
        known = canonical_uuid(session_id)
        ended = await self._sessions.end(caller.user_id, known) if known else []
        if not ended:
            raise errors.session_not_found()
        await self._tell(ended)

    async def end_all(self, caller: Caller, *, is_current_kept: bool) -> int:
        """Ends the caller's sessions; how many."""
        kept = caller.session_id if is_current_kept else ""
        ended = await self._sessions.end_all(caller.user_id, kept=kept)
        await self._tell(ended)
        return len(ended)

    async def change_password(self, caller: Caller, current: str, new: str, source_address: str) -> None:
        """Changes the caller's password and ends all other sessions. Raises INVALID_CREDENTIALS, and SIGN_IN_THROTTLED."""
        known = await self._accounts.get_credentials(caller.user_id)
        if known is None:
            raise errors.invalid_credentials()
        email = known.account.email
        await self._throttle.check(email, source_address)
        if known.password_hash is not None and not await self._passwords.matches(current, known.password_hash):
            await self._throttle.count_failure(email, source_address)
            raise errors.invalid_credentials()
        new_hash = await self._passwords.hash(new)
        ended = await self._accounts.change_password(caller.user_id, known.password_hash, new_hash, kept=caller.session_id)
        if ended is None:
            # Somebody else was quicker: what was shown is no longer the password.
            raise errors.invalid_credentials()
        _log.info("password_changed", user_id=caller.user_id)
        await self._tell(ended)

    async def set_roles(self, email: str, names: Sequence[str]) -> Account:
        """Gives an account exactly these roles and that of a user. Raises ACCOUNT_NOT_FOUND, ROLE_UNKNOWN."""
        unknown = [name for name in names if name not in set(Role)]
        if unknown:
            raise errors.role_unknown(unknown)
        account = await self._accounts.set_roles(normal_email(email), USER_ROLES | {Role(name) for name in names})
        if account is None:
            raise errors.account_not_found()
        _log.info("roles_set", user_id=account.id, roles=sorted(account.roles))
        note_about(roles=" ".join(sorted(account.roles)))
        # Its API keys are looked up anew, its sessions end.
        await self._tell([account.id, *await self._sessions.end_all(account.id)])
        return account

    async def _tell(self, ids: Iterable[str]) -> None:
        for ended in ids:
            await self._announce(ended)
