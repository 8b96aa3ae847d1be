"""DNS messages: what is asked is understood strictly, and whatever comes, an answer is well-formed or there is none."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandboxfile.gateway import dns

HEADER = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0"
QUESTION = HEADER + b"\3API\7example\3com\0\0\1\0\1"


def test_a_question_is_read_in_lower_case_and_kept_as_it_came() -> None:
    found = dns.parse_question(QUESTION)
    assert found == dns.Question(0x1234, True, "api.example.com", dns.A, QUESTION[12:])


def test_an_answer_repeats_the_question_and_points_to_its_name() -> None:
    found = dns.parse_question(QUESTION)
    assert isinstance(found, dns.Question)
    message = dns.answer(found, data=b"\xc6\x12\0\1", ttl=30)
    assert message[:12] == b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0"
    assert message[12:] == QUESTION[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\xc6\x12\0\1"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (HEADER[:4] + b"\0\2" + HEADER[6:] + QUESTION[12:], dns.FORMAT_ERROR),
        (HEADER, dns.FORMAT_ERROR),
        (HEADER + b"\xc0\x0c\0\1\0\1", dns.FORMAT_ERROR),
        (HEADER + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", dns.FORMAT_ERROR),
        (HEADER + b"\3api", dns.FORMAT_ERROR),
        (HEADER + b"\3api\0\0\1", dns.FORMAT_ERROR),
        (HEADER + b"\x3f" + (b"a" * 63 + b"\x3f") * 3 + b"a" * 63 + b"\0\0\1\0\1", dns.FORMAT_ERROR),
        (b"\x12\x34\x28\0" + QUESTION[4:], dns.NOT_IMPLEMENTED),
        (QUESTION[:-1] + b"\3", dns.REFUSED),
    ],
)
def test_what_is_no_plain_question_is_answered_with_its_code(message: bytes, code: int) -> None:
    found = dns.parse_question(message)
    assert found == dns.Malformed(0x1234, code)
    assert len(dns.failure(found)) == 12
    assert dns.failure(found)[3] & 15 == code


@pytest.mark.parametrize("message", [b"", HEADER[:11], b"\x12\x34\x81\x80" + QUESTION[4:]])
def test_what_is_too_short_or_an_answer_is_not_answered(message: bytes) -> None:
    assert dns.parse_question(message) is None


@pytest.mark.parametrize("labels", [b"\3a.b\0", b"\2\xc3\xa4\0", b"\0"])
def test_labels_that_no_host_has_make_no_name(labels: bytes) -> None:
    found = dns.parse_question(HEADER + labels + b"\0\1\0\1")
    assert isinstance(found, dns.Question)
    assert found.name is None


@given(st.one_of(st.binary(max_size=600), st.binary(max_size=600).map(lambda tail: HEADER + tail)))
@example(QUESTION + b"\0\0\x29\x04\xd0\0\0\0\0\0\0")
def test_any_bytes_are_nothing_or_a_short_well_formed_answer(message: bytes) -> None:
    match dns.parse_question(message):
        case dns.Question() as question:
            answer = dns.answer(question, data=b"\1\2\3\4")
            assert len(answer) <= dns.MESSAGE_LIMIT
            assert answer[:2] == message[:2]
            assert message[12:].startswith(question.wire)
        case dns.Malformed() as malformed:
            assert dns.failure(malformed)[:2] == message[:2]
        case nothing:
            assert nothing is None
