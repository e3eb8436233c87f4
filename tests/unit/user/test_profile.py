"""Rules of profiles."""

import base64
import json

import pytest

from mesh.call import Caller
from mesh.contract import methods
from mesh.errors import InvalidArgumentError, UnauthenticatedError
from services.user.profile import changes, claimed

_EMAIL = "ann@example.com"


def _bearer(payload: object) -> str:
    return "e30." + base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=") + ".sig"


def test_a_new_profile_has_the_name_that_the_token_claims() -> None:
    new = claimed(Caller("id", _EMAIL, bearer=_bearer({"name": " Ann Ä "})))
    assert (new.id, new.email, new.display_name) == ("id", _EMAIL, "Ann Ä")


@pytest.mark.parametrize("bearer", ["", "a.b", "a.!!.c", _bearer({}), _bearer([]), _bearer({"name": 3}), _bearer({"name": " "})])
def test_without_a_name_it_is_the_part_before_the_at(bearer: str) -> None:
    assert claimed(Caller("id", _EMAIL, bearer=bearer)).display_name == "ann"


def test_a_service_has_no_profile() -> None:
    with pytest.raises(UnauthenticatedError):
        claimed(Caller(workload="gateway"))


def test_without_a_mask_what_is_set_changes() -> None:
    assert changes({"display_name": "B", "timezone": ""}, [], _EMAIL) == {"display_name": "B"}
    assert changes({"display_name": "", "timezone": ""}, [], _EMAIL) == {}


def test_a_mask_limits_the_change_and_an_empty_value_goes_back_to_the_default() -> None:
    user = {"display_name": "", "timezone": "Europe/Berlin"}
    assert changes(user, ["display_name"], _EMAIL) == {"display_name": "ann"}
    assert changes(user, ["*"], _EMAIL) == {"display_name": "ann", "timezone": "Europe/Berlin"}
    assert changes({"display_name": "x", "timezone": ""}, ["timezone"], _EMAIL) == {"timezone": "UTC"}


@pytest.mark.parametrize("mask", [["email"], ["display_name", "id"], ["user.timezone"], [""]])
def test_a_mask_with_other_fields_is_refused(mask: list[str]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        changes({"display_name": "x", "timezone": "UTC"}, mask, _EMAIL)
    assert caught.value.reason == "UPDATE_MASK_INVALID"
    assert caught.value.violations[0].field == "update_mask"


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "../../etc/passwd", "utc+1", "europe/berlin", "localtime", "Factory"])
def test_an_unknown_time_zone_is_refused(timezone: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        changes({"display_name": "", "timezone": timezone}, [], _EMAIL)
    assert caught.value.violations[0].field == "user.timezone"


def test_executions_may_ask_for_the_time_zone() -> None:
    assert "execution" in methods()["/treadle.user.v1.UserService/GetMe"].callers
