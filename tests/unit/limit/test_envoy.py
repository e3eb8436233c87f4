"""What Envoy asks is understood, and the verdict is said in its words."""

from google.rpc.error_details_pb2 import RetryInfo
from treadle.limit.envoy.v3.rate_limit_pb2 import RateLimitDescriptor, RateLimitRequest, RateLimitResponse

from mesh.rates import BUILT_IN
from services.limit.book import Book
from services.limit.envoy import MAX_LEASE, read_question, write_answer
from services.limit.gcra import Bucket, Level, Verdict


def request(*descriptors: dict[str, str], hits: int = 0) -> RateLimitRequest:
    made = RateLimitRequest(domain="treadle", hits_addend=hits)
    for entries in descriptors:
        made.descriptors.append(RateLimitDescriptor(entries=[RateLimitDescriptor.Entry(key=k, value=v) for k, v in entries.items()]))
    return made


def test_each_descriptor_has_the_bucket_of_its_class_and_subject() -> None:
    address, user = {"class": "write", "masked_remote_address": "10.0.0.1/32"}, {"class": "write", "user": "u1", "lease": "8"}
    question = read_question(request(address, user), Book())
    assert question.buckets == [
        Bucket("limit:write:address:10.0.0.1/32", BUILT_IN["write"]),
        Bucket("limit:write:user:u1", BUILT_IN["write"]),
    ]
    assert (question.rate_class, question.calls, question.wanted) == ("write", 1, 8)


def test_what_nobody_limits_is_granted() -> None:
    question = read_question(request({"class": "unheard-of", "user": "u1"}, {"class": "read"}, {"generic_key": "x"}), Book())
    assert question.counted == []
    answer = write_answer(question, None)
    assert answer.overall_code == RateLimitResponse.CODE_OK
    assert [status.code for status in answer.statuses] == [RateLimitResponse.CODE_OK] * 3


def test_hits_and_leases_are_bounded_numbers() -> None:
    assert read_question(request({"class": "read", "user": "u", "lease": "999999999"}, hits=7), Book()).wanted == MAX_LEASE
    assert read_question(request({"class": "read", "user": "u"}, hits=7), Book()).calls == 7
    assert read_question(request({"class": "read", "user": "u", "lease": "-4"}), Book()).wanted == 0


def test_a_refusal_says_how_long_to_wait_over_both_protocols() -> None:
    question = read_question(request({"class": "read", "masked_remote_address": "a"}, {"class": "read", "user": "u"}), Book())
    answer = write_answer(question, Verdict(0, 2.5, [Level(100, 1.0), Level(0, 9.2)]))
    assert answer.overall_code == RateLimitResponse.CODE_OVER_LIMIT
    assert [status.code for status in answer.statuses] == [RateLimitResponse.CODE_OK, RateLimitResponse.CODE_OVER_LIMIT]
    headers = {header.key: header.value for header in answer.response_headers_to_add}
    assert headers["retry-after"] == "3"
    assert (headers["ratelimit-remaining"], headers["ratelimit-reset"]) == ("0", "10")
    assert b'"retry_delay":"2.500s"' in answer.raw_body
    assert RetryInfo.DESCRIPTOR.full_name.encode() in answer.raw_body
    assert answer.dynamic_metadata["retry_ms"] == 2500
    assert answer.dynamic_metadata["body"] == answer.raw_body.decode()


def test_a_grant_tells_the_tightest_limit_and_what_is_lent() -> None:
    question = read_question(request({"class": "read", "masked_remote_address": "a"}, {"class": "read", "user": "u"}), Book())
    answer = write_answer(question, Verdict(64, 0.0, [Level(100, 0.01), Level(90, 0.02)]))
    headers = {header.key: header.value for header in answer.response_headers_to_add}
    assert headers == {"ratelimit-limit": str(BUILT_IN["read"].burst), "ratelimit-remaining": "90", "ratelimit-reset": "1"}
    assert answer.dynamic_metadata["lent"] == 64
    assert answer.raw_body == b""
