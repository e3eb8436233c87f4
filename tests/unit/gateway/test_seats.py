"""How many sockets there may be."""

import pytest

from gateway.seats import Seats
from mesh.errors import ResourceExhaustedError


def test_a_user_has_so_many_and_gets_a_place_back() -> None:
    seats = Seats(total=3, per_user=2)
    first = seats.take("ann")
    seats.take("ann")
    with pytest.raises(ResourceExhaustedError) as refused:
        seats.take("ann")
    assert refused.value.reason == "TOO_MANY_SOCKETS"
    first()
    seats.take("ann")
    assert seats.taken == 2


def test_all_together_have_so_many() -> None:
    seats = Seats(total=1, per_user=1)
    leave = seats.take("ann")
    with pytest.raises(ResourceExhaustedError):
        seats.take("bob")
    leave()
    seats.take("bob")
