"""Page tokens of listings by id, newest first."""

from mesh.ids import canonical_uuid
from mesh.paging import invalid_token, read_token


def before_of(page_token: str) -> str | None:
    """The id in a token; None for the first page. Raises PAGE_TOKEN_INVALID."""
    parts = read_token(page_token, (str,))
    if parts is None:
        return None
    found = canonical_uuid(str(parts[0]))
    if found is None:
        raise invalid_token()
    return found
