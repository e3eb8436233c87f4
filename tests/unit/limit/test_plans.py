"""Plans are taken as they are meant or not at all."""

import math

import pytest

from mesh import contract
from mesh.rates import BUILT_IN, Rate
from services.limit.book import Book
from services.limit.plans import BUILT_IN_PLANS, MAX_BURST, PlanError, check_subject, plan_of, read_plan, write_plan


def test_there_is_a_limit_for_each_class_of_the_contracts() -> None:
    assert {method.rate_class for method in contract.methods().values()} <= set(BUILT_IN)


def test_what_a_plan_leaves_out_is_as_built_in() -> None:
    plan = plan_of("small", [("execute", Rate(0.5, 3))])
    assert plan.rates["execute"] == Rate(0.5, 3)
    assert {name: rate for name, rate in plan.rates.items() if name != "execute"} == {k: v for k, v in BUILT_IN.items() if k != "execute"}


def test_a_plan_survives_its_way_through_the_bucket() -> None:
    plan = plan_of("small", [("read", Rate(0.1, 1)), ("stream", Rate(7, 70))])
    assert read_plan("small", write_plan(plan)) == plan


@pytest.mark.parametrize(
    ("text", "about"),
    [
        (b"", "no plan"),
        (b"[]", "no plan"),
        (b'{"read": 3}', "no plan"),
        (b'{"read": {"per_second": "many", "burst": 1}}', "no plan"),
        (b'{"read": {"per_second": 1}}', "no plan"),
        (b'{"read": {"per_second": 1, "burst": 1.5}}', "no plan"),
        (b'{"raed": {"per_second": 1, "burst": 1}}', "raed"),
        (b'{"read": {"per_second": 0, "burst": 1}}', "per_second"),
        (b'{"read": {"per_second": -1, "burst": 1}}', "per_second"),
        (b'{"read": {"per_second": 1e9, "burst": 1}}', "per_second"),
        (b'{"read": {"per_second": 1, "burst": 0}}', "burst"),
        (b"\xff\xfe", "no plan"),
    ],
)
def test_nonsense_is_named(text: bytes, about: str) -> None:
    with pytest.raises(PlanError, match=about):
        read_plan("small", text)


def test_no_number_that_is_none_gets_in() -> None:
    for rate in (Rate(math.nan, 1), Rate(math.inf, 1), Rate(1, MAX_BURST + 1)):
        with pytest.raises(PlanError):
            plan_of("small", [("read", rate)])


@pytest.mark.parametrize("name", ["", "Big", "9", "a b", "a.b", "x" * 65, "-a"])
def test_names_are_short_words(name: str) -> None:
    with pytest.raises(PlanError, match="name"):
        plan_of(name, [])


@pytest.mark.parametrize("subject", ["", "user.", "key.abc", "key.abcdefghi", "address.1", "user.a b", "group.x"])
def test_subjects_are_users_and_keys(subject: str) -> None:
    with pytest.raises(PlanError):
        check_subject(subject)


class TestBook:
    """What counts when the bucket changes."""

    def test_the_last_good_value_stays_in_force(self) -> None:
        book = Book()
        good = {"plan.default": b'{"read": {"per_second": 5, "burst": 9}}', "has.user.u1": b"default"}
        book.apply(good)
        book.apply({"plan.default": b"{", "has.user.u1": b"?"})
        assert book.plan("user", "u2").rates["read"] == Rate(5, 9)
        assert book.assignments == {"user.u1": "default"}
        assert set(book.rejected) == {"limits.plan.default", "limits.has.user.u1"}
        book.apply(good)
        assert book.rejected == {}

    def test_a_bad_value_that_was_never_good_leaves_what_is_built_in(self) -> None:
        book = Book()
        book.apply({"plan.default": b"no", "plan.mine": b"no", "else": b"1"})
        assert book.plans == BUILT_IN_PLANS
        assert len(book.rejected) == 3

    def test_what_is_deleted_is_as_it_was_shipped(self) -> None:
        book = Book()
        book.apply({"plan.address": b'{"auth": {"per_second": 1, "burst": 1}}', "plan.big": b"{}", "has.key.abcdefgh": b"big"})
        assert book.plan("address", "10.0.0.1").rates["auth"] == Rate(1, 1)
        assert book.plan("key", "abcdefgh").name == "big"
        book.apply({"has.key.abcdefgh": b"big"})
        assert book.plan("address", "10.0.0.1").rates["auth"] == BUILT_IN["auth"]
        assert book.plan("key", "abcdefgh").name == "default"
