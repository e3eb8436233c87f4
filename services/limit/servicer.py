"""treadle.limit.v1.LimitService: from messages to the domain and back."""

from hashlib import sha256

from treadle.limit.v1 import limit_service_pb2 as pb
from treadle.options.v1.options_pb2 import RateClass

from mesh.call import Call, note_about
from mesh.errors import EtagMismatchError
from mesh.http.responses import is_current
from mesh.paging import read_token, write_token
from mesh.rates import Rate
from mesh.runtime_settings import RuntimeSettings
from services.limit.book import HAS, PLAN, Book
from services.limit.errors import plan_invalid, plan_not_found, subject_invalid
from services.limit.plans import BUILT_IN_PLANS, Plan, PlanError, check_subject, plan_of, read_plan, write_plan

DEFAULT_PAGE_SIZE = 100
_CLASS_PREFIX = "RATE_CLASS_"


class LimitServicer:
    """The handlers of LimitService. What they change comes into force by way of the bucket, as any other change of it."""

    def __init__(self, book: Book, settings: RuntimeSettings) -> None:
        self._book = book
        self._settings = settings

    async def list_plans(self, request: pb.ListPlansRequest, call: Call) -> pb.ListPlansResponse:
        """All plans, and what was rejected."""
        return pb.ListPlansResponse(
            plans=[_message(plan) for _, plan in sorted(self._book.plans.items())],
            rejected=[pb.RejectedSetting(key=key, problem=problem) for key, problem in sorted(self._book.rejected.items())],
        )

    async def get_plan(self, request: pb.GetPlanRequest, call: Call) -> pb.GetPlanResponse:
        """One plan."""
        plan = self._book.plans.get(request.name)
        if plan is None:
            raise plan_not_found(request.name)
        call.response_headers["etag"] = _etag(plan)
        return pb.GetPlanResponse(plan=_message(plan))

    async def update_plan(self, request: pb.UpdatePlanRequest, call: Call) -> pb.UpdatePlanResponse:
        """Changes a plan or makes it."""
        rates = [(_class_name(item.rate_class), Rate(item.per_second, item.burst)) for item in request.plan.limits]
        try:
            plan = plan_of(request.name, rates)
        except PlanError as error:
            raise plan_invalid(str(error)) from None
        note_about(plan=plan.name)
        await self._settings.put(f"{PLAN}.{plan.name}", write_plan(plan), await self._revision(plan.name, call))
        call.response_headers["etag"] = _etag(plan)
        return pb.UpdatePlanResponse(plan=_message(plan))

    async def delete_plan(self, request: pb.DeletePlanRequest, call: Call) -> pb.DeletePlanResponse:
        """Deletes a plan."""
        if request.name not in self._book.plans:
            raise plan_not_found(request.name)
        note_about(plan=request.name)
        await self._settings.delete(f"{PLAN}.{request.name}")
        return pb.DeletePlanResponse()

    async def list_assignments(self, request: pb.ListAssignmentsRequest, call: Call) -> pb.ListAssignmentsResponse:
        """A page of assignments."""
        size = request.page_size or DEFAULT_PAGE_SIZE
        key = read_token(request.page_token, (str,))
        after = str(key[0]) if key else ""
        found = sorted(item for item in self._book.assignments.items() if item[0] > after)
        token = write_token(found[size - 1][0]) if len(found) > size else ""
        page = [pb.Assignment(subject=subject, plan=plan) for subject, plan in found[:size]]
        return pb.ListAssignmentsResponse(assignments=page, next_page_token=token)

    async def assign_plan(self, request: pb.AssignPlanRequest, call: Call) -> pb.AssignPlanResponse:
        """Gives a plan to a user or an API key."""
        _check(request.subject)
        if request.plan not in self._book.plans:
            raise plan_not_found(request.plan)
        note_about(plan=request.plan, subject=request.subject)
        await self._settings.put(f"{HAS}.{request.subject}", request.plan.encode())
        return pb.AssignPlanResponse(assignment=pb.Assignment(subject=request.subject, plan=request.plan))

    async def unassign_plan(self, request: pb.UnassignPlanRequest, call: Call) -> pb.UnassignPlanResponse:
        """Takes it back."""
        _check(request.subject)
        note_about(subject=request.subject)
        await self._settings.delete(f"{HAS}.{request.subject}")
        return pb.UnassignPlanResponse()

    async def _revision(self, name: str, call: Call) -> int | None:
        """Which revision of the plan may be replaced: the one that the caller saw, any when they do not say."""
        if_match = call.metadata.get("if-match", "")
        if not if_match:
            return None
        value, revision = await self._settings.get(f"{PLAN}.{name}")
        try:
            now = read_plan(name, value) if value else BUILT_IN_PLANS.get(name)
        except PlanError:
            # Somebody put nonsense there: nobody saw a plan like that.
            now = None
        if now is None or not is_current(_etag(now), if_match):
            raise EtagMismatchError("The plan has changed since it was read.", metadata={"plan": name})
        return revision


def _check(subject: str) -> None:
    try:
        check_subject(subject)
    except PlanError as error:
        raise subject_invalid(str(error)) from None


def _etag(plan: Plan) -> str:
    return f'"{sha256(write_plan(plan)).hexdigest()[:32]}"'


def _class_name(number: RateClass.ValueType) -> str:
    return RateClass.Name(number).removeprefix(_CLASS_PREFIX).lower()


def _message(plan: Plan) -> pb.Plan:
    message = pb.Plan(name=plan.name, is_built_in=plan.name in BUILT_IN_PLANS)
    for name, rate in plan.rates.items():
        message.limits.add(rate_class=RateClass.Value(_CLASS_PREFIX + name.upper()), per_second=rate.per_second, burst=rate.burst)
    return message
