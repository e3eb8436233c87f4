"""What can be wrong with credentials, with the reasons that programs see."""

from collections.abc import Sequence

from mesh.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    Violation,
)


def email_taken() -> AlreadyExistsError:
    """Somebody has an account with this address."""
    return AlreadyExistsError("An account with this e-mail address exists.", reason="EMAIL_TAKEN")


def invalid_credentials() -> UnauthenticatedError:
    """Unknown address or wrong password: the same error, so that nobody can find out who has an account."""
    return UnauthenticatedError("The e-mail address or the password is wrong.", reason="INVALID_CREDENTIALS")


def refresh_token_invalid() -> UnauthenticatedError:
    """The token is unknown, expired or signed out."""
    return UnauthenticatedError("The refresh token is not valid; sign in again.", reason="REFRESH_TOKEN_INVALID")


def refresh_token_reused() -> UnauthenticatedError:
    """The token was traded before: one of the two who showed it stole it, so all tokens of that sign-in have ended."""
    return UnauthenticatedError("The refresh token was used before; sign in again.", reason="REFRESH_TOKEN_REUSED")


def rotation_pending(ahead_s: float) -> FailedPreconditionError:
    """The key before this one has not begun to sign."""
    message = f"The newest key does not sign yet: that takes {ahead_s:.0f} s from its making. Revoke the keys if it cannot wait."
    return FailedPreconditionError(message, reason="KEY_ROTATION_PENDING")


def key_not_found() -> NotFoundError:
    """No such API key, or another's."""
    return NotFoundError("There is no such API key.", reason="API_KEY_NOT_FOUND")


def key_refused(reason: str, message: str) -> UnauthenticatedError:
    """The API key is good for nothing, or not now."""
    return UnauthenticatedError(message, reason=reason)


def too_many_keys(limit: int) -> ResourceExhaustedError:
    """The account has as many API keys as it may."""
    return ResourceExhaustedError(f"An account may have {limit} API keys. Delete one first.", reason="API_KEY_LIMIT")


def expire_time_past() -> InvalidArgumentError:
    """The key would be dead at birth."""
    violation = Violation("expire_time", "must be in the future")
    return InvalidArgumentError("The key would have expired already.", reason="EXPIRE_TIME_PAST", violations=[violation])


def scopes_not_granted(missing: Sequence[str]) -> InvalidArgumentError:
    """The key would be able to do what its maker may not, or what no key may."""
    violations = [Violation("scopes", f"{scope} is not yours to give to a key") for scope in missing]
    return InvalidArgumentError("The key cannot have these scopes.", reason="SCOPE_NOT_GRANTED", violations=violations)


def session_not_found() -> NotFoundError:
    """No such open session, or another's."""
    return NotFoundError("There is no such session.", reason="SESSION_NOT_FOUND")


def account_not_found() -> NotFoundError:
    """Nobody has this address; only administrators are told."""
    return NotFoundError("There is no account with this e-mail address.", reason="ACCOUNT_NOT_FOUND")


def role_unknown(names: Sequence[str]) -> InvalidArgumentError:
    """There are no such roles."""
    violations = [Violation("roles", f"{name} is not a role") for name in names]
    return InvalidArgumentError("There are no such roles.", reason="ROLE_UNKNOWN", violations=violations)


def sign_in_throttled(retry_after_s: float) -> ResourceExhaustedError:
    """Too many wrong passwords."""
    message = "Too many failed attempts to sign in; try again later or reset the password."
    return ResourceExhaustedError(message, reason="SIGN_IN_THROTTLED", retry_after_s=retry_after_s)


def link_invalid() -> UnauthenticatedError:
    """The link is forged, used, expired or for something else; which of these is nobody's business."""
    return UnauthenticatedError("The link is not valid any more; ask for a new one.", reason="LINK_INVALID")


def oidc_provider_not_found(name: str) -> NotFoundError:
    """The configuration names no such provider."""
    return NotFoundError(f"There is no provider {name!r}.", reason="OIDC_PROVIDER_NOT_FOUND")


def oidc_away() -> UnavailableError:
    """The provider does not answer, or not as a provider does."""
    return UnavailableError("The provider does not answer; try again later.", reason="OIDC_PROVIDER_AWAY", retry_after_s=5.0)


def oidc_login_invalid() -> UnauthenticatedError:
    """Somebody else's login, one that took too long, or an answer that the provider did not give."""
    return UnauthenticatedError("This login is not valid any more; start again.", reason="OIDC_LOGIN_INVALID")


def oidc_email_unverified() -> FailedPreconditionError:
    """Whoever controls an address at the provider need not be the one who receives its mails."""
    message = "The provider does not vouch for your e-mail address. Verify it there, then try again."
    return FailedPreconditionError(message, reason="OIDC_EMAIL_UNVERIFIED")


def too_many_sign_ins(retry_after_s: float) -> ResourceExhaustedError:
    """More passwords wait to be checked than can be checked soon."""
    return ResourceExhaustedError("Too many sign-ins at the moment; try again soon.", reason="SIGN_IN_BUSY", retry_after_s=retry_after_s)
