"""On random graphs and random courses of events: the engine agrees with the model, and a replay with the run."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.execution.engine.dataflow import start
from services.execution.engine.events import Event, EventKind
from services.execution.engine.fold import apply
from services.execution.engine.gather import Gathering
from services.execution.engine.outcome import conclude
from services.execution.engine.plan import Plan
from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status
from services.execution.engine.waits import Course as Waited
from services.execution.engine.waits import WaitKind, child_value, interruption_value, retry_value, timer_value
from tests.unit.execution.graphs import EXECUTION_ID, Journal, plan
from tests.unit.execution.model import Attempt, Model
from tests.unit.execution.view import node_executions

MOST_STEPS = 80
VALUES = st.one_of(st.none(), st.integers(0, 9))


# What may happen to a firing at work, and how likely.
MOVES = ["out"] * 5 + ["more", "complete", "fail"]
# And to one that may wait.
WAITS: dict[str, tuple[EventKind, dict[str, Any]]] = {
    "review": (EventKind.NODE_REVIEW, {"message": "?", "data": 1, "is_editable": True}),
    "question": (EventKind.NODE_REVIEW, interruption_value("?")),
    "timer": (EventKind.NODE_WAITING, timer_value(2_000_000)),
    "child": (EventKind.NODE_WAITING, child_value("c")),
    "retry": (EventKind.NODE_WAITING, retry_value(1, 2_000_000)),
}
ANSWERS: list[Any] = [
    None,
    {"approved": True, "auto_approve_future": True},
    {"approved": False},
    {"execution_id": "c", "node_count": 2, "node_error_count": 1},
]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A stream, a source of static values and one to four more nodes; any links: streams that meet, loops, several links into one pin."""
    count = draw(st.integers(3, 6))
    nodes: dict[str, Any] = {"n0": ("pass", {"a": 1}), "n1": ("keep", {"a": 1})}
    for at in range(2, count):
        nodes[f"n{at}"] = (draw(st.sampled_from(["pair", "pass", "keep"])), draw(st.sampled_from([{}, {"a": 5}, {"b": 6}])))
    pins = st.sampled_from(["out", "out", "more", "error"])
    link = st.tuples(st.integers(0, count - 1), pins, st.integers(2, count - 1), st.sampled_from("ab"))
    links = [(0, "out", 2, "a"), (draw(st.integers(0, 1)), "out", 2, "b"), *draw(st.lists(link, max_size=6))]
    for node_id in nodes.keys() - {f"n{sink}" for _, _, sink, _ in links}:
        nodes[node_id] = (nodes[node_id][0], {"a": 1, **nodes[node_id][1]})
    return plan(nodes, [f"n{source}.{pin} -> n{sink}.{sink_pin}" for source, pin, sink, sink_pin in links])


class Course:
    """A run in which chance decides what happens next, on the engine and on the model alike."""

    def __init__(self, plan: Plan, *, may_wait: bool = False) -> None:
        self.plan = plan
        self.moves = [*MOVES, *WAITS] if may_wait else MOVES
        self.state = State(plan, EXECUTION_ID)
        self.model = Model(plan)
        self.queue: list[Firing] = start(self.state, {})
        self.journal = Journal(self.state)
        self.seen = [snapshot(self.state)]

    def step(self, data: st.DataObject) -> bool:
        """One event; False when nothing can happen any more."""
        open_ones = [firing for firing in self.queue if not firing.status.is_ended]
        if not open_ones:
            return False
        firing = data.draw(st.sampled_from(open_ones[:6]))
        attempt = self.attempt(firing)
        if firing.status is Status.QUEUED:
            self.journal.begin(firing)
        elif firing.wait is not None:
            self._answer(data, firing)
        else:
            self._go_on(data, firing, attempt)
        self.seen.append(snapshot(self.state))
        return True

    def _answer(self, data: st.DataObject, firing: Firing) -> None:
        if data.draw(st.booleans()):
            self.journal.write(EventKind.EXECUTION_RESUMED)
        elif firing.wait is not None and firing.wait.kind is WaitKind.RETRY:
            self.journal.begin(firing)
        else:
            self.journal.write(EventKind.NODE_RESUMED, firing, value=data.draw(st.sampled_from(ANSWERS)))

    def _go_on(self, data: st.DataObject, firing: Firing, attempt: Attempt) -> None:
        choice = data.draw(st.sampled_from(self.moves))
        if choice in WAITS:
            kind, what = WAITS[choice]
            self.journal.write(kind, firing, value=what)
            return
        if choice == "complete":
            ready = self.journal.complete(firing)
        elif choice == "fail":
            attempt.outputs.append(("error", "broken"))
            ready = self.journal.fail(firing, "broken")
        else:
            value = data.draw(VALUES)
            ready = self.journal.emit(firing, choice, value)
            self.model.emit(attempt, choice, value)
        if choice in ("complete", "fail"):
            self.model.end(attempt)
        self.queue.extend(ready)

    def attempt(self, firing: Firing) -> Attempt:
        """The model's firing at the same place of the queue."""
        return self.model.queue[self.queue.index(firing)]


def snapshot(state: State) -> Any:
    """Everything a state says about itself, by value."""
    lanes = [
        (
            list(lane.filled.items()),
            [item.index for item in lane.waiting],
            [item.index for item in lane.order],
            lane.remembered,
            lane.created,
            None if lane.gathering is None else _gathered(lane.gathering),
        )
        for lane in state.lanes
    ]
    firings = [
        (
            item.id,
            item.ordinal,
            item.status,
            dict(item.arrived),
            dict(item.inputs),
            list(item.outputs),
            list(item.held or ()),
            item.emitted,
            item.attempt,
            None if item.course is None else [getattr(item.course, name) for name in Waited.__slots__],
        )
        for item in state.firings.values()
    ]
    counts: tuple[int, ...] = (
        state.status,
        state.open_count,
        state.ended_count,
        state.failed_count,
        state.emission_count,
        state.node_time_us,
        state.nested_count,
        state.nested_failed_count,
    )
    waits = (state.review_count, state.waiting_count, sorted(state.waiting), sorted(state.auto_approved), state.paused_us)
    return lanes, firings, counts, waits, list(state.results), list(state.handed_up)


def _gathered(gathering: Gathering) -> Any:
    lists = [(key, found.busy, found.held, list(found.values), found.origins) for key, found in gathering.lists.items()]
    return lists, list(gathering.loose.values), gathering.loose.origins, gathering.busy, gathering.has_given, sorted(gathering.due)


def replay(plan: Plan, events: list[Event]) -> State:
    """A new state, folded from a journal."""
    state = State(plan, EXECUTION_ID)
    start(state, {})
    for event in events:
        apply(state, event)
    return state


def _take_a_course(plan: Plan, data: st.DataObject, *, may_wait: bool = False) -> Course:
    course = Course(plan, may_wait=may_wait)
    for _ in range(data.draw(st.integers(0, MOST_STEPS).map(lambda steps: MOST_STEPS - steps))):
        if not course.step(data):
            break
    return course


@settings(max_examples=200, deadline=None)
@given(plans(), st.data())
def test_the_engine_agrees_with_the_model(plan: Plan, data: st.DataObject) -> None:
    course = _take_a_course(plan, data)
    assert [(item.node.id, item.inputs) for item in course.queue] == [(item.node.id, item.inputs) for item in course.model.queue]
    assert [(item.node.id, item.arrived) for item in course.state.firings.values()] == [
        (item.node.id, item.rows) for item in course.model.attempts
    ]


@settings(max_examples=60, deadline=None)
@given(plans(), st.data())
def test_any_prefix_of_the_journal_replays_to_the_state_the_run_had_then(plan: Plan, data: st.DataObject) -> None:
    course = _take_a_course(plan, data, may_wait=True)
    length = data.draw(st.integers(1, len(course.journal.events)))
    state = replay(plan, course.journal.events[:length])
    assert snapshot(state) == course.seen[length - 1]
    for event in course.journal.events[length:]:
        apply(state, event)
    assert snapshot(state) == snapshot(course.state)
    assert node_executions(state) == node_executions(course.state)


@settings(max_examples=60, deadline=None)
@given(plans(), st.data())
def test_each_firing_is_counted_where_it_stands(plan: Plan, data: st.DataObject) -> None:
    state = _take_a_course(plan, data, may_wait=True).state
    found = Counter(firing.status for firing in state.firings.values())
    assert state.open_count == found[Status.QUEUED] + found[Status.RUNNING]
    assert (state.review_count, state.waiting_count) == (found[Status.REVIEW], found[Status.WAITING])
    assert state.waiting.keys() == {firing.index for firing in state.firings.values() if firing.wait is not None}


@settings(max_examples=60, deadline=None)
@given(plans(), st.data())
def test_ordinals_have_no_gaps_and_ids_are_unique(plan: Plan, data: st.DataObject) -> None:
    state = _take_a_course(plan, data).state
    assert list(state.firings) == list(range(len(state.firings)))
    assert len({firing.id for firing in state.firings.values()}) == len(state.firings)
    for lane in state.lanes:
        ordinals = [firing.ordinal for firing in state.firings.values() if firing.node is lane.node]
        assert ordinals == list(range(lane.created))
        holders = {pin: sum(pin in firing.arrived for firing in lane.waiting) for pin in lane.node.linked}
        assert holders == lane.filled


@settings(max_examples=60, deadline=None)
@given(plans(), st.data())
def test_a_state_without_history_fires_and_concludes_the_same_and_keeps_only_what_may_change(plan: Plan, data: st.DataObject) -> None:
    course = _take_a_course(plan, data, may_wait=True)
    lean = State(plan, EXECUTION_ID, keeps_history=False)
    queue = start(lean, {})
    for event in course.journal.events:
        queue.extend(apply(lean, event))
    assert [(firing.id, firing.inputs) for firing in queue] == [(firing.id, firing.inputs) for firing in course.queue]
    assert conclude(lean) == conclude(course.state)
    assert set(lean.firings) == {firing.index for lane in course.state.lanes for firing in (*lane.waiting, *lane.order)}
