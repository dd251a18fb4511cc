"""Recordings: every frame with its time, nothing else changed, and no token in them."""

from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.errors import ProtocolError
from asrd.framing import HEADER, FrameError, FrameSplitter
from asrd.wire.codec import MAX_NESTED_ITEMS, unpack
from asrd.wire.recording import (
    FORGOTTEN,
    FrameCutter,
    SessionName,
    Tape,
    packed,
    read_frames,
    stamped,
)
from support.profiles import examples

AT_S = 1_700_000_000.25
TOKEN = "0123456789abcdef" * 2
SESSION = SessionName(label="run-s1", token=TOKEN)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=5) | st.integers(0, 99), inner, max_size=5)
    ),
    max_leaves=10,
)
MAPS = st.dictionaries(st.text(max_size=8), VALUES, max_size=20)


def framed(payload: bytes) -> bytes:
    return HEADER.pack(len(payload)) + payload


def tape_of(data: bytes, **more: Any) -> bytes:
    tape = Tape(**more)
    return b"".join(tape.received(data, AT_S, SESSION)) + tape.ended()


def read(data: bytes) -> list[dict[str, Any] | None]:
    return [each.fields for each in read_frames(FrameCutter(), data)]


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


# ── the time ──────────────────────────────────────────────────────────────────────────────────


@examples(300)
@given(MAPS, st.floats(min_value=0, allow_infinity=False))
def test_a_stamped_map_says_what_it_said_and_when(fields: dict[str, Any], at_s: float) -> None:
    before = packed(fields)
    after = stamped(before, at_s)
    assert unpack(memoryview(after)) == {**fields, "at": at_s}
    assert len(after) <= len(before) + 14
    assert before[3:] in after


@pytest.mark.parametrize("count", [0, 1, 14, 15, 16, 17, 255, 256, MAX_NESTED_ITEMS - 1])
def test_the_count_grows_from_one_width_to_the_next(count: int) -> None:
    fields = {f"key {number}": number for number in range(count)}
    assert unpack(memoryview(stamped(packed(fields), AT_S))) == {**fields, "at": AT_S}


@pytest.mark.parametrize("head", [b"\xde\0\1", b"\xdf\0\0\0\1"])
def test_a_count_in_more_bytes_than_it_needs_is_one_too(head: bytes) -> None:
    payload = head + packed({"type": "ping"})[1:]
    assert unpack(memoryview(stamped(payload, AT_S))) == {"type": "ping", "at": AT_S}


def test_an_own_key_of_that_name_gives_way() -> None:
    (fields,) = read(tape_of(framed(packed({"type": "ping", "at": "noon"}))))
    assert fields == {"type": "ping", "at": AT_S}


def test_a_map_that_can_take_no_more_keys_is_left_as_it_is() -> None:
    payload = packed({str(number): 0 for number in range(MAX_NESTED_ITEMS)})
    assert tape_of(framed(payload)) == framed(payload)


def test_a_frame_that_would_outgrow_the_limit_is_left_as_it_is() -> None:
    payload = packed({"type": "audio", "data": b"x" * 80})
    assert tape_of(framed(payload), max_frame_bytes=len(payload) + 11) == framed(payload)
    assert tape_of(framed(payload), max_frame_bytes=len(payload) + 12) != framed(payload)


@pytest.mark.parametrize("at", [None, "1", 1, float("nan"), float("inf"), True])
def test_only_a_finite_float_is_a_time(at: object) -> None:
    (frame,) = read_frames(FrameCutter(), framed(packed({"type": "ping", "at": at})))
    assert frame.at_s is None


# ── what is kept ──────────────────────────────────────────────────────────────────────────────


@examples(200)
@given(st.lists(MAPS, max_size=5), st.lists(st.integers(0, 2000), max_size=5))
def test_however_it_arrives_it_reads_back_as_it_was_sent(
    sent: list[dict[str, Any]], cuts: list[int]
) -> None:
    """`resume` and `hello` apart, which are another test's."""
    sent = [{key: value for key, value in each.items() if key != "resume"} for each in sent]
    tape = Tape()
    data = b"".join(framed(packed(each)) for each in sent)
    kept = b"".join(b"".join(tape.received(piece, AT_S, None)) for piece in in_pieces(data, cuts))
    assert read(kept) == [{**each, "at": AT_S} for each in sent]
    assert tape.ended() == b""


@examples(300)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_noise_is_kept_up_to_the_read_in_which_frames_end(data: bytes, cuts: list[int]) -> None:
    """Whatever the bytes, a daemon that is fed the recording gets to the same place."""
    tape = Tape(max_frame_bytes=64)
    kept = b""
    for piece in in_pieces(data, cuts):
        kept += b"".join(tape.received(piece, AT_S, None))
    kept += tape.ended()
    assert payloads(kept, 64) == [
        (stamped(payload, AT_S) if may_be_stamped(payload) else payload)
        if is_sound(payload)
        else payload
        for payload in payloads(data, 64)
    ]


def payloads(data: bytes, limit: int) -> list[bytes]:
    """What the daemon's own splitter makes of it."""
    found = []
    try:
        for payload in FrameSplitter(limit).feed(memoryview(data)):
            found.append(bytes(payload))
    except FrameError:
        found.append(b"a bad length")
    return found


def is_sound(payload: bytes) -> bool:
    try:
        unpack(memoryview(payload))
    except ProtocolError:
        return False
    return True


def may_be_stamped(payload: bytes) -> bool:
    return len(stamped(payload, AT_S)) <= 64


def test_a_broken_frame_and_one_that_was_cut_stand_as_they_came() -> None:
    broken, cut = framed(b"\xc1\xc1\xc1"), framed(packed({"type": "flush", "stream": 1}))[:-3]
    assert tape_of(broken + cut) == broken + cut


def test_nothing_is_kept_behind_the_read_with_a_bad_length() -> None:
    tape = Tape()
    assert tape.received(b"\xff\xff\xff\xff and more", AT_S, None) == [b"\xff\xff\xff\xff and more"]
    assert tape.received(framed(packed({"type": "ping"})), AT_S, None) == []
    assert tape.ended() == b""


# ── tokens ────────────────────────────────────────────────────────────────────────────────────


def test_a_hello_that_resumes_names_the_session_and_not_the_token() -> None:
    hello = {"type": "hello", "resume": TOKEN, "have": {1: 2}, "client": "me"}
    recorded = tape_of(framed(packed(hello)))
    label = SESSION.label
    assert read(recorded) == [{**hello, "resume": label, "session": label, "at": AT_S}]
    assert TOKEN.encode() not in recorded


@pytest.mark.parametrize("session", [None, SESSION])
def test_a_token_of_another_session_is_forgotten(session: SessionName | None) -> None:
    tape = Tape()
    payload = packed({"type": "hello", "resume": "fedcba98" * 4})
    (recorded,) = tape.received(framed(payload), AT_S, session)
    (fields,) = read(recorded)
    assert fields is not None
    assert fields["resume"] == FORGOTTEN
    assert b"fedcba98" not in recorded


def test_a_token_that_stands_there_twice_is_in_neither_place() -> None:
    pair = msgpack.packb("resume") + msgpack.packb(TOKEN)
    payload = b"\x83" + packed({"type": "hello"})[1:] + pair + pair
    assert TOKEN.encode() not in tape_of(framed(payload))


@pytest.mark.parametrize(
    "resume", [TOKEN * 5, TOKEN.encode(), [TOKEN], {"token": TOKEN}], ids=lambda value: type(value)
)
def test_what_is_refused_stays_refusable_and_tells_no_token(resume: object) -> None:
    payload = packed({"type": "hello", "resume": resume})
    (fields,) = read(tape_of(framed(payload)))
    assert fields is not None
    assert type(fields["resume"]) is type(resume)
    assert len(fields["resume"]) == len(resume)  # type: ignore[arg-type]
    assert TOKEN.encode() not in tape_of(framed(payload))


@examples(200)
@given(st.integers(0, 200), st.integers(0, 255))
def test_no_cut_and_no_broken_byte_lets_a_token_through(place: int, byte: int) -> None:
    whole = framed(packed({"type": "hello", "client": "me", "resume": TOKEN}))
    place %= len(whole)
    for data in (whole[:place], whole[:place] + bytes([byte]) + whole[place + 1 :]):
        recorded = tape_of(data)
        assert TOKEN[:9].encode() not in recorded or TOKEN.encode() not in data


def test_what_is_nested_too_deep_to_be_written_anew_tells_no_token() -> None:
    nest: Any = 0
    for _ in range(400):
        nest = [nest]
    inner = packed({"n": nest})[3:]  # the nest alone
    payload = (
        b"\x83" + packed({"type": "hello", "resume": TOKEN})[1:] + b"\xa1n" + b"\x91" * 400 + inner
    )
    assert is_sound(payload)
    recorded = tape_of(framed(payload))
    assert TOKEN.encode() not in recorded
    assert is_sound(recorded[HEADER.size :])


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "audio", "stream": 1, "data": b"\1\2", "resumed": TOKEN},
        {"type": "audio", "stream": 1, "data": b"\1\2", "more": [{TOKEN: TOKEN.encode()}]},
        {"type": "open", "stream": 1, "prompt": f"it is {TOKEN}, they say"},
        {"type": "ping", "id": TOKEN},
    ],
)
def test_the_sessions_own_token_is_told_under_no_key(fields: dict[str, Any]) -> None:
    recorded = tape_of(framed(packed(fields)))
    assert TOKEN.encode() not in recorded
    (read_back,) = read(recorded)
    assert read_back is not None
    assert set(fields) <= set(read_back)
    assert read_back.get("data") == fields.get("data")


def test_what_only_looks_like_a_token_is_recorded_as_it_came() -> None:
    prompt = "commit " + "9f2c" * 10
    (fields,) = read(tape_of(framed(packed({"type": "open", "stream": 1, "prompt": prompt}))))
    assert fields is not None
    assert fields["prompt"] == prompt


def test_pcm_is_never_changed() -> None:
    data = TOKEN.encode() * 2
    (fields,) = read(tape_of(framed(packed({"type": "audio", "stream": 1, "data": data}))))
    assert fields is not None
    assert fields["data"] == data
