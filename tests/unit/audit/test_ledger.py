"""The chain of hashes: whoever changes the log, wherever, is found out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.ledger import GENESIS, Entry, Mark, Verdict, Verification, hash_of, linked

LOG = list(linked(Mark(), [f'{{"n":{n}}}' for n in range(6)]))
HEAD = Mark(LOG[-1].seq, LOG[-1].hash)


def verdict(log: list[Entry], cut: Mark | None = None, head: Mark = HEAD, known: Mark | None = None) -> Verdict:
    verification = Verification(cut or Mark(), known)
    verification.take(log)
    return verification.verdict(head)


def test_a_log_that_nobody_touched_is_intact() -> None:
    assert verdict(LOG) == Verdict(6, 0, HEAD)
    assert LOG[0].hash == hash_of(GENESIS, LOG[0].body)


def test_new_records_go_on_where_the_log_ends() -> None:
    more = linked(HEAD, ["x"])
    assert verdict([*LOG, *more], head=Mark(more[0].seq, more[0].hash)).is_intact


@given(place=st.integers(0, 5), body=st.text())
def test_a_changed_record_is_found(place: int, body: str) -> None:
    if body != LOG[place].body:
        changed = [*LOG[:place], replace(LOG[place], body=body), *LOG[place + 1 :]]
        assert verdict(changed).broken_seq == place + 1


@pytest.mark.parametrize("place", range(6))
def test_a_missing_record_is_found(place: int) -> None:
    assert verdict([*LOG[:place], *LOG[place + 1 :]]).broken_seq == place + 1


def test_a_log_that_was_written_anew_differs_from_what_somebody_wrote_down() -> None:
    forged = list(linked(Mark(), [entry.body.replace("2", "9") for entry in LOG]))
    head = Mark(6, forged[-1].hash)
    assert verdict(forged, head=head).is_intact
    assert verdict(forged, head=head, known=Mark(4, LOG[3].hash)).broken_seq == 4
    assert verdict(LOG, known=Mark(4, LOG[3].hash)).is_intact


def test_a_log_that_is_shorter_than_what_somebody_wrote_down_is_broken() -> None:
    assert verdict(LOG[:4], head=Mark(4, LOG[3].hash), known=HEAD).broken_seq == 5


def test_what_was_forgotten_by_age_is_not_missed() -> None:
    cut = Mark(LOG[1].seq, LOG[1].hash)
    assert verdict(LOG[2:], cut) == Verdict(4, 0, HEAD)
    assert verdict(LOG[3:], cut).broken_seq == 3
    assert verdict(LOG[2:], cut, known=cut).is_intact


def test_an_empty_log_is_intact() -> None:
    assert verdict([], head=Mark()).is_intact
