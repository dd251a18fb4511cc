"""Frames that are malformed, odd or hostile, and the first message of a connection."""

import gc
import math
import tracemalloc
from typing import Any

import msgpack
import pytest

from asrd.errors import ErrorCode, ProtocolError
from asrd.wire.codec import (
    MAX_NESTED_ITEMS,
    decode_client,
    decode_hello,
    decode_server,
    encode,
)
from asrd.wire.messages import (
    Error,
    Event,
    Opened,
    Ping,
    Segment,
    ServerMessage,
)
from wire.golden_messages import MESSAGES
from wire.make_golden import FRAMES, golden


def refusal(payload: bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        decode_client(memoryview(payload))
    return caught.value


# ── what is absent ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("message", "absent"),
    [
        (
            Opened(stream=1, provider="p", model="m", priority=1, delivery="live"),
            {"credit"},
        ),
        (
            Segment(
                stream=1,
                id=0,
                start=0.0,
                end=1.0,
                text="",
                offset=0,
                provider="p",
                model="m",
                latency_ms=1.0,
            ),
            {"words", "language", "confidence"},
        ),
        (
            Event(stream=1, event="speech_start", at=0.5),
            {"start", "end", "reason", "level", "action"},
        ),
        (Error(code="internal", message="", fatal=False), {"stream", "retry_after_ms"}),
    ],
)
def test_keys_that_do_not_apply_are_left_out_of_the_frame(
    message: ServerMessage, absent: set[str]
) -> None:
    fields = msgpack.unpackb(encode(message)[4:])
    assert fields.keys() == {"type", *type(message).__struct_fields__} - absent
    assert decode_server(memoryview(encode(message)[4:])) == message


# ── malformed frames ──────────────────────────────────────────────────────────────────────────

PING = {"type": "ping", "id": 1}


def ping_with(packed_value: bytes, packed_key: bytes = b"\xa1x") -> bytes:
    """A ping with one key more, packed by hand."""
    payload: bytes = msgpack.packb(PING)
    assert payload[0] == 0x82
    return b"\x83" + payload[1:] + packed_key + packed_value


BROKEN_FRAMES = {
    "nil": b"\xc0",
    "true": b"\xc3",
    "an integer": b"\x01",
    "a float": msgpack.packb(1.5),
    "a string": msgpack.packb("ping"),
    "a bin": msgpack.packb(b"ping"),
    "an array": msgpack.packb([PING]),
    "an ext": msgpack.packb(msgpack.ExtType(1, b"x")),
    "a timestamp": msgpack.packb(msgpack.Timestamp(1)),
    "the byte that msgpack never uses": b"\xc1",
    "that byte as a value": ping_with(b"\xc1"),
    "a map that lacks its items": b"\x82",
    "a map that announces 4 billion items": b"\xdf\xff\xff\xff\xff",
    "an array that announces 4 billion items": ping_with(b"\xdd\xff\xff\xff\xff"),
    "a string that announces 4 GiB": ping_with(b"\xdb\xff\xff\xff\xff"),
    "a bin that announces 4 GiB": ping_with(b"\xc6\xff\xff\xff\xff"),
    "an ext that announces 4 GiB": ping_with(b"\xc9\xff\xff\xff\xff\x01"),
    "two maps": msgpack.packb(PING) * 2,
    "a key that is an integer": ping_with(b"\x01", packed_key=b"\x01"),
    "a key that is a bin": ping_with(b"\x01", packed_key=b"\xc4\x01x"),
    "a key that is nil": ping_with(b"\x01", packed_key=b"\xc0"),
    "a key that is a float": ping_with(b"\x01", packed_key=msgpack.packb(1.5)),
    "a key that is an array": ping_with(b"\x01", packed_key=b"\x90"),
    "a key that is a map": ping_with(b"\x01", packed_key=b"\x80"),
    "a key that is a timestamp": ping_with(b"\x01", packed_key=msgpack.packb(msgpack.Timestamp(1))),
    "a string that is not UTF-8": ping_with(b"\xa2\xc3\x28"),
    "a string with a surrogate": ping_with(b"\xa3\xed\xa0\x80"),
    "a string with an overlong form": ping_with(b"\xa2\xc0\xaf"),
    "a key that is not UTF-8": ping_with(b"\x01", packed_key=b"\xa1\xff"),
    "a timestamp of 5 bytes": ping_with(b"\xc7\x05\xff" + bytes(5)),
    "a timestamp with too many nanoseconds": ping_with(b"\xd7\xff" + b"\xff" * 8),
    "arrays within arrays without end": ping_with(b"\x91" * 100_000 + b"\xc0"),
    "maps within maps without end": ping_with(b"\x81\xa1x" * 100_000 + b"\xc0"),
    "an array within a map's key": ping_with(b"\x81\x91\x01\x02"),
}


@pytest.mark.parametrize("payload", BROKEN_FRAMES.values(), ids=BROKEN_FRAMES.keys())
def test_what_is_not_one_well_formed_map_ends_the_connection(payload: bytes) -> None:
    error = refusal(payload)
    assert (error.code, error.fatal) == (ErrorCode.INVALID_FRAME, True)
    assert len(error.message) < 500


@pytest.mark.parametrize("payload", BROKEN_FRAMES.values(), ids=BROKEN_FRAMES.keys())
def test_the_same_is_refused_as_a_first_frame(payload: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_hello(memoryview(payload))
    assert (caught.value.code, caught.value.fatal) == (ErrorCode.INVALID_FRAME, True)


WELL_FORMED = {
    "a deep nest": ping_with(b"\x91" * 500 + b"\xc0"),
    "an ext": ping_with(msgpack.packb(msgpack.ExtType(42, b"x" * 300))),
    "an empty ext": ping_with(b"\xc7\x00\x05"),
    "a timestamp": ping_with(msgpack.packb(msgpack.Timestamp(2**40, 999_999_999))),
    "not a number": ping_with(msgpack.packb(math.nan)),
    "the same key twice": ping_with(b"\x01", packed_key=b"\xa2id"),
    "a long array": ping_with(msgpack.packb([None] * MAX_NESTED_ITEMS)),
    "a string in its longest form": ping_with(b"\xdb\x00\x00\x00\x01x"),
    "a map in its longest form": b"\xdf\x00\x00\x00\x02" + msgpack.packb(PING)[1:],
    "an integer in its longest form": ping_with(
        b"\xcf" + (1).to_bytes(8, "big"), packed_key=b"\xa2id"
    ),
}


@pytest.mark.parametrize("payload", WELL_FORMED.values(), ids=WELL_FORMED.keys())
def test_well_formed_oddities_under_unknown_keys_are_ignored(payload: bytes) -> None:
    assert decode_client(memoryview(payload)) == Ping(id=1)


def test_of_a_key_that_is_given_twice_the_last_value_counts() -> None:
    assert decode_client(memoryview(ping_with(b"\x07", packed_key=b"\xa2id"))) == Ping(id=7)


@pytest.mark.parametrize("value", [msgpack.ExtType(5, b"\x01"), msgpack.Timestamp(1)], ids=repr)
@pytest.mark.parametrize(
    "name", [name for name in FRAMES if name.startswith("client_") and len(FRAMES[name]) > 1]
)
def test_an_ext_where_something_else_belongs_drops_the_frame_alone(name: str, value: Any) -> None:
    for key in FRAMES[name].keys() - {"type"}:
        error = refusal(msgpack.packb({**FRAMES[name], key: value}))
        assert (error.code, error.fatal) == (ErrorCode.INVALID_MESSAGE, False)


def test_a_longer_array_or_map_than_any_message_needs_is_refused_at_its_header() -> None:
    for value in ([None] * (MAX_NESTED_ITEMS + 1), dict.fromkeys(range(MAX_NESTED_ITEMS + 1))):
        error = refusal(msgpack.packb({**PING, "x": value}))
        assert (error.code, error.fatal) == (ErrorCode.INVALID_FRAME, True)


def test_a_nest_that_announces_what_never_comes_costs_megabytes_and_not_gigabytes() -> None:
    """1,000 arrays in one another, each announcing the most items that are allowed."""
    header = b"\xdd" + MAX_NESTED_ITEMS.to_bytes(4, "big")
    payload = ping_with(header * 1000)
    tracemalloc.start()
    try:
        error = refusal(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.code is ErrorCode.INVALID_FRAME
    assert peak < 80 * 2**20


def test_malformed_frames_leave_nothing_behind() -> None:
    """msgpack before 1.2.1 lost the memory of every array that a bad byte ended."""
    payloads = [
        ping_with(b"\x91" * 500 + b"\xc1"),
        ping_with((b"\xdd" + (4096).to_bytes(4, "big")) * 100),
        ping_with(b"\x81\xa1x" * 100 + b"\xa1\xff"),
    ]

    def refuse_all() -> None:
        for payload in payloads:
            refusal(payload)

    refuse_all()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20):
            refuse_all()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 100_000


# ── the first message ─────────────────────────────────────────────────────────────────────────


def test_the_first_message_is_a_hello() -> None:
    assert decode_hello(memoryview(golden("client_hello")[4:])) == MESSAGES["client_hello"]


@pytest.mark.parametrize("version", [0, 2, -1, 2**64 - 1])
def test_another_version_is_refused_before_the_rest_is_looked_at(version: int) -> None:
    payload = msgpack.packb({"type": "hello", "version": version, "have": "something new"})
    with pytest.raises(ProtocolError) as caught:
        decode_hello(memoryview(payload))
    assert (caught.value.code, caught.value.fatal) == (ErrorCode.UNSUPPORTED_VERSION, True)
