"""treadle.user.v1.UserService: from messages to the domain and back."""

from google.protobuf.timestamp_pb2 import Timestamp
from treadle.user.v1.user_service_pb2 import GetMeRequest, GetMeResponse, UpdateMeRequest, UpdateMeResponse, User

from mesh.call import Call, Caller
from services.user.profile import MUTABLE, Profile, changes, claimed, profile_not_found
from services.user.repository import Repository


class UserServicer:
    """The handlers of UserService."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def get_me(self, request: GetMeRequest, call: Call) -> GetMeResponse:
        """The caller's profile; the first call makes it."""
        return GetMeResponse(user=_shown(await self._profile(call.caller), call))

    async def update_me(self, request: UpdateMeRequest, call: Call) -> UpdateMeResponse:
        """Changes the caller's profile."""
        mask = list(request.update_mask.paths)
        profile = await self._profile(call.caller)
        wanted = changes({name: getattr(request.user, name) for name in MUTABLE}, mask, profile.email)
        changed = await self._repository.update(profile.id, wanted, call.metadata.get("if-match", ""))
        if changed is None:
            raise profile_not_found()
        return UpdateMeResponse(user=_shown(changed, call))

    async def _profile(self, caller: Caller) -> Profile:
        """The caller's profile, made when there is none."""
        if not caller.actor_id:
            return await self._repository.get_or_create(claimed(caller))
        # The token describes the administrator: nothing can be made of that.
        found = await self._repository.find(caller.user_id)
        if found is None:
            raise profile_not_found()
        return found


def _shown(profile: Profile, call: Call) -> User:
    call.response_headers["etag"] = profile.etag
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
