"""Somebody with a browser and an account at the provider of the tests."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx


@dataclass(frozen=True, slots=True)
class Browser:
    """Goes to the provider, says who it is, and comes back."""

    client: httpx.AsyncClient
    subject: str
    email: str

    @classmethod
    async def of_new_person(cls, client: httpx.AsyncClient, issuer: str, claims: dict[str, Any] | None = None) -> "Browser":
        """With an account of its own at the provider; `claims` are what that knows of it, by default a proved address and a name."""
        subject, email = uuid4().hex, f"{uuid4().hex}@example.com"
        known = {"email": email, "email_verified": True, "name": "Ann Ä"} if claims is None else claims
        made = await client.put(f"{issuer.rstrip('/')}/users/{subject}", json=known)
        assert made.is_success, made.text
        return cls(client, subject, str(known.get("email", "")))

    async def go(self, authorization_url: str) -> dict[str, str]:
        """Says who it is there; `state` and `code` of the way back."""
        answer = await self.client.post(authorization_url, data={"sub": self.subject})
        assert answer.status_code in {302, 303}, answer.text
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        return {"state": query["state"][0], "code": query["code"][0]}
