"""JSON text in and out keeps every value, or says that it cannot."""

import pytest

from mesh import jsontext


@pytest.mark.parametrize(
    "text", ["1e400", "[-1e400]", "[1e400,12345678901234567890]", '{"a":[12345678901234567890,{"b":-2e308}]}', "1" * 20 + "e300"]
)
def test_a_number_that_no_double_holds_is_refused_not_lost(text: str) -> None:
    with pytest.raises(ValueError, match=r"beyond the range|infinity"):
        jsontext.loads(text)


@pytest.mark.parametrize(
    "text", ["12345678901234567890", "[1.5,12345678901234567890]", '{"b":1,"a":[-0.25,123456789012345678901234567890]}']
)
def test_integers_of_any_size_and_the_order_of_keys_stay(text: str) -> None:
    assert jsontext.dumps(jsontext.loads(text)) == text
