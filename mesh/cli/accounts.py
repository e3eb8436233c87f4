"""Accounts and graphs for a load: the local owner's, or those of users that are made for it."""

import json
import os
from typing import TYPE_CHECKING

from mesh import jsontext
from mesh.cli.load import Job
from mesh.cli.rest import Rest
from mesh.cli.workloads import Workload

if TYPE_CHECKING:
    from mesh.cli.session import Session


def jobs_of(session: "Session", workload: Workload, users: int) -> list[Job]:
    """One job for each of so many users, each with a graph of its own. A single one is the local owner."""
    tokens = [session.token()] if users == 1 else [_new_user(session) for _ in range(users)]
    return [Job(token, Rest(session, token).json("POST", "/v1/graphs", jsontext.dumps(workload.graph))["id"]) for token in tokens]


def _new_user(session: "Session") -> str:
    email = f"bench-{os.urandom(8).hex()}@treadle.example"
    body = json.dumps({"email": email, "password": os.urandom(16).hex(), "display_name": "Bench"})
    return str(Rest(session).json("POST", "/v1/auth/register", body)["access_token"])
