"""treadle.user.v1.UserService: from messages to the domain and back."""

from google.protobuf.timestamp_pb2 import Timestamp
from treadle.user.v1.user_service_pb2 import GetMeRequest, GetMeResponse, UpdateMeRequest, UpdateMeResponse, User

from mesh.call import Call
from services.user.profile import MUTABLE, Profile, changes, claimed
from services.user.repository import Repository


class UserServicer:
    """The handlers of UserService."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def get_me(self, request: GetMeRequest, call: Call) -> GetMeResponse:
        """The caller's profile; the first call makes it."""
        profile = await self._repository.get_or_create(claimed(call.caller))
        return GetMeResponse(user=_message(profile))

    async def update_me(self, request: UpdateMeRequest, call: Call) -> UpdateMeResponse:
        """Changes the caller's profile."""
        mask = list(request.update_mask.paths)
        wanted = changes({name: getattr(request.user, name) for name in MUTABLE}, mask, call.caller.email)
        new = claimed(call.caller)
        profile = await (self._repository.update(new, wanted) if wanted else self._repository.get_or_create(new))
        return UpdateMeResponse(user=_message(profile))


def _message(profile: Profile) -> User:
    create_time, update_time = Timestamp(), Timestamp()
    create_time.FromDatetime(profile.create_time)
    update_time.FromDatetime(profile.update_time)
    return User(
        id=profile.id,
        email=profile.email,
        display_name=profile.display_name,
        timezone=profile.timezone,
        create_time=create_time,
        update_time=update_time,
    )
