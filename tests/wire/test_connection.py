"""Both ends of a connection: bytes in, messages and refusals out."""

import struct
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrd.errors import ErrorCode, ProtocolError
from asrd.framing import HEADER
from asrd.wire.codec import MAX_FRAME_BYTES, decode_client, decode_server
from asrd.wire.connection import ClientConnection, ServerConnection, State
from asrd.wire.messages import Audio, ClientMessage, Hello, Ping, ServerMessage
from wire.make_golden import FRAMES, frame, golden

FIXED = settings(derandomize=True, deadline=None, max_examples=200)

CLIENT_FRAMES = [name for name in FRAMES if name.startswith("client_")]
SERVER_FRAMES = [name for name in FRAMES if name.startswith("server_")]
HELLO = frame({"type": "hello"})
PING = frame({"type": "ping", "id": 1})

Outcome = ClientMessage | ProtocolError


def outcomes(connection: ServerConnection, *reads: bytes) -> list[Outcome]:
    return [outcome for data in reads for outcome in connection.receive(memoryview(data))]


def greeted() -> ServerConnection:
    """A connection on which hello was said."""
    connection = ServerConnection()
    assert outcomes(connection, HELLO) == [Hello()]
    return connection


def codes(said: Iterable[Outcome]) -> list[tuple[ErrorCode, bool] | None]:
    """Code and fatality of each refusal; None for a message."""
    return [
        (outcome.code, outcome.fatal) if isinstance(outcome, ProtocolError) else None
        for outcome in said
    ]


def single_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


# ── golden frames, however they are cut ───────────────────────────────────────────────────────


def expected_of(name: str) -> list[Outcome]:
    return [decode_client(memoryview(golden(name)[4:]))]


@pytest.mark.parametrize("name", [name for name in CLIENT_FRAMES if name != "client_hello"])
def test_a_golden_frame_is_read_whole_byte_by_byte_cut_anywhere_and_with_junk_behind(
    name: str,
) -> None:
    data = golden(name)
    expected = expected_of(name)
    assert outcomes(greeted(), data) == expected
    assert outcomes(greeted(), *single_bytes(data)) == expected
    for cut in range(len(data)):
        assert outcomes(greeted(), data[:cut], data[cut:]) == expected
    connection = greeted()
    *said, refused = outcomes(connection, data + b"\xff" * 9)
    assert said == expected
    assert codes([refused]) == [(ErrorCode.FRAME_TOO_LARGE, True)]
    assert connection.state is State.BROKEN


def test_the_golden_hello_is_read_whole_byte_by_byte_cut_anywhere_and_with_junk_behind() -> None:
    data = golden("client_hello")
    expected = expected_of("client_hello")
    assert outcomes(ServerConnection(), data) == expected
    assert outcomes(ServerConnection(), *single_bytes(data)) == expected
    for cut in range(len(data)):
        assert outcomes(ServerConnection(), data[:cut], data[cut:]) == expected
    *said, refused = outcomes(ServerConnection(), data + bytes(9))
    assert said == expected
    assert codes([refused]) == [(ErrorCode.FRAME_TOO_LARGE, True)]


@pytest.mark.parametrize("name", SERVER_FRAMES)
def test_a_client_reads_a_golden_frame_whole_byte_by_byte_and_cut_anywhere(name: str) -> None:
    data = golden(name)
    expected = [decode_server(memoryview(data[4:]))]
    cuts = [[data], single_bytes(data), *([data[:cut], data[cut:]] for cut in range(len(data)))]
    for reads in cuts:
        connection = ClientConnection()
        said = [answer for read in reads for answer in connection.receive(memoryview(read))]
        assert said == expected


def test_a_whole_conversation_byte_by_byte_is_the_same_as_in_one_read() -> None:
    names = ["client_hello", *(name for name in CLIENT_FRAMES if name != "client_hello")]
    data = b"".join(golden(name) for name in names)
    whole = outcomes(ServerConnection(), data)
    assert whole == [message for name in names for message in expected_of(name)]
    assert outcomes(ServerConnection(), *single_bytes(data)) == whole


# ── hello first ───────────────────────────────────────────────────────────────────────────────


def test_a_connection_begins_by_expecting_hello() -> None:
    assert ServerConnection().state is State.EXPECTING_HELLO


def test_a_connection_opens_with_hello() -> None:
    connection = ServerConnection()
    assert outcomes(connection, HELLO, PING) == [Hello(), Ping(id=1)]
    assert connection.state is State.OPEN


@pytest.mark.parametrize("name", [name for name in CLIENT_FRAMES if name != "client_hello"])
def test_any_other_message_first_ends_the_connection(name: str) -> None:
    connection = ServerConnection()
    assert codes(outcomes(connection, golden(name))) == [(ErrorCode.HELLO_EXPECTED, True)]
    assert connection.state is State.BROKEN


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"version": 1},
        {"type": None},
        {"type": 1},
        {"type": ["hello"]},
        {"type": b"hello"},
        {"type": "welcome"},
        {"type": "nonsense"},
        {"type": "audio"},
        {"type": "audio", "stream": "one", "data": 3},
    ],
    ids=repr,
)
def test_anything_that_is_no_hello_ends_the_connection_whatever_else_is_wrong_with_it(
    fields: dict[str, Any],
) -> None:
    said = outcomes(ServerConnection(), frame(fields), HELLO)
    assert codes(said) == [(ErrorCode.HELLO_EXPECTED, True)]


@pytest.mark.parametrize("fields", [{"version": "1"}, {"have": [1]}, {"client": 5}], ids=repr)
def test_a_hello_that_breaks_its_schema_is_dropped_and_may_be_said_again(
    fields: dict[str, Any],
) -> None:
    connection = ServerConnection()
    said = outcomes(connection, frame({"type": "hello", **fields}))
    assert codes(said) == [(ErrorCode.INVALID_MESSAGE, False)]
    assert connection.state is State.EXPECTING_HELLO
    assert outcomes(connection, HELLO) == [Hello()]


def test_audio_behind_a_hello_that_was_dropped_still_lacks_its_hello() -> None:
    bad_hello = frame({"type": "hello", "client": 5})
    said = outcomes(ServerConnection(), bad_hello, golden("client_audio"), HELLO)
    assert codes(said) == [(ErrorCode.INVALID_MESSAGE, False), (ErrorCode.HELLO_EXPECTED, True)]


@pytest.mark.parametrize("version", [0, 2, 2**64 - 1])
def test_another_version_of_the_protocol_ends_the_connection(version: int) -> None:
    connection = ServerConnection()
    said = outcomes(connection, frame({"type": "hello", "version": version}), HELLO)
    assert codes(said) == [(ErrorCode.UNSUPPORTED_VERSION, True)]
    assert connection.state is State.BROKEN


def test_a_second_hello_is_dropped_and_the_connection_goes_on() -> None:
    connection = greeted()
    said = outcomes(connection, HELLO, PING)
    assert codes(said) == [(ErrorCode.INVALID_MESSAGE, False), None]
    assert connection.state is State.OPEN


# ── what ends a connection and what does not ──────────────────────────────────────────────────


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("make", [ServerConnection, greeted], ids=["before hello", "after hello"])
@pytest.mark.parametrize("cut", range(4))
def test_a_bad_length_ends_the_connection_at_its_header(length: int, make: Any, cut: int) -> None:
    connection = make()
    header = HEADER.pack(length)
    said = outcomes(connection, header[:cut], header[cut:])
    assert codes(said) == [(ErrorCode.FRAME_TOO_LARGE, True)]
    assert connection.state is State.BROKEN
    assert not connection.is_mid_frame


@pytest.mark.parametrize("limit", [64, 1000, MAX_FRAME_BYTES])
def test_a_frame_may_have_the_most_bytes_and_not_one_more(limit: int) -> None:
    padded = {"type": "ping", "x": b""}
    for excess, code in ((0, None), (1, (ErrorCode.FRAME_TOO_LARGE, True))):
        connection = ServerConnection(limit)
        outcomes(connection, HELLO)
        low = {**padded, "x": bytes(limit + excess - len(msgpack.packb(padded)) - 8)}
        missing = limit + excess - len(msgpack.packb(low))
        data = frame({**low, "x": bytes(len(low["x"]) + missing)})
        assert len(data) == 4 + limit + excess
        assert codes(outcomes(connection, data)) == [code]


@pytest.mark.parametrize(
    "payload", [b"\xc1", b"\xc0", b"\x81", msgpack.packb([]), msgpack.packb({1: 2})], ids=repr
)
@pytest.mark.parametrize("make", [ServerConnection, greeted], ids=["before hello", "after hello"])
def test_a_frame_that_is_not_one_map_ends_the_connection(payload: bytes, make: Any) -> None:
    connection = make()
    said = outcomes(connection, struct.pack(">I", len(payload)) + payload)
    assert codes(said) == [(ErrorCode.INVALID_FRAME, True)]
    assert connection.state is State.BROKEN


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"type": "audio"}, ErrorCode.INVALID_MESSAGE),
        ({"type": "open", "stream": 1, "sample_rate": 7999}, ErrorCode.INVALID_MESSAGE),
        ({}, ErrorCode.INVALID_MESSAGE),
        ({"type": "nonsense"}, ErrorCode.UNKNOWN_TYPE),
        ({"type": "welcome"}, ErrorCode.UNKNOWN_TYPE),
    ],
)
def test_a_map_that_breaks_its_schema_is_dropped_and_the_connection_goes_on(
    fields: dict[str, Any], code: ErrorCode
) -> None:
    connection = greeted()
    said = outcomes(connection, PING + frame(fields) + PING)
    assert codes(said) == [None, (code, False), None]
    assert connection.state is State.OPEN


def test_nothing_behind_a_fatal_error_is_read() -> None:
    connection = greeted()
    said = outcomes(connection, PING + bytes(4) + PING, PING)
    assert codes(said) == [None, (ErrorCode.FRAME_TOO_LARGE, True)]
    assert outcomes(connection, PING, HELLO) == []


def test_nothing_is_read_after_the_owner_said_stop() -> None:
    connection = greeted()
    connection.stop()
    assert outcomes(connection, PING) == []
    assert connection.state is State.BROKEN


def test_an_owner_may_stop_between_two_messages_of_one_read() -> None:
    connection = greeted()
    said = []
    for outcome in connection.receive(memoryview(PING + PING)):
        said.append(outcome)
        connection.stop()
    assert said == [Ping(id=1)]


def test_a_connection_knows_whether_its_peer_stopped_inside_a_frame() -> None:
    for cut in range(len(PING) + 1):
        connection = greeted()
        outcomes(connection, PING[:cut])
        assert connection.is_mid_frame == (0 < cut < len(PING))


def test_the_data_of_an_audio_message_outlives_what_was_read() -> None:
    """The message owns its bytes; the buffer that they came in may be used again."""
    data = bytearray(golden("client_audio"))
    (message,) = greeted().receive(memoryview(data))
    data[:] = bytes(len(data))
    assert isinstance(message, Audio)
    assert message.data == FRAMES["client_audio"]["data"]


# ── the client's end ──────────────────────────────────────────────────────────────────────────


def answers(*reads: bytes) -> list[ServerMessage]:
    connection = ClientConnection()
    return [answer for data in reads for answer in connection.receive(memoryview(data))]


def test_a_client_skips_types_that_it_does_not_know() -> None:
    news = frame({"type": "weather", "degrees": 20})
    pong = frame({"type": "pong", "id": 1})
    assert answers(news + pong + news + pong) == answers(pong + pong)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (HEADER.pack(0), ErrorCode.FRAME_TOO_LARGE),
        (HEADER.pack(2**31), ErrorCode.FRAME_TOO_LARGE),
        (HEADER.pack(1) + b"\xc1", ErrorCode.INVALID_FRAME),
        (frame({"type": "ack", "stream": 1}), ErrorCode.INVALID_MESSAGE),
        (frame({"stream": 1}), ErrorCode.INVALID_MESSAGE),
    ],
)
def test_a_client_cannot_go_on_with_what_is_not_this_protocol(data: bytes, code: ErrorCode) -> None:
    with pytest.raises(ProtocolError) as caught:
        answers(data)
    assert caught.value.code is code


# ── any bytes ─────────────────────────────────────────────────────────────────────────────────

PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([golden(name) for name in CLIENT_FRAMES]),
    st.binary(max_size=30).map(lambda payload: HEADER.pack(len(payload)) + payload),
)


def reads_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[a:b] for a, b in pairwise(edges)]


@given(
    st.booleans(),
    st.lists(PIECES, max_size=6),
    st.lists(st.integers(min_value=0, max_value=800), max_size=10),
)
@settings(FIXED, max_examples=500)
def test_any_bytes_in_any_cuts_give_documented_outcomes_and_always_the_same(
    with_hello: bool, pieces: list[bytes], cuts: list[int]
) -> None:
    """At most one fatal error, and it is the last; how the bytes were cut changes nothing."""
    data = (HELLO if with_hello else b"") + b"".join(pieces)
    whole = ServerConnection(1000)
    said = outcomes(whole, data)
    fatal = [index for index, outcome in enumerate(codes(said)) if outcome and outcome[1]]
    assert fatal == ([len(said) - 1] if whole.state is State.BROKEN else [])
    in_pieces = ServerConnection(1000)
    again = outcomes(in_pieces, *reads_of(data, cuts))
    assert in_pieces.state is whole.state
    assert in_pieces.is_mid_frame == whole.is_mid_frame
    assert codes(again) == codes(said)
    for one, other in zip(said, again, strict=True):
        assert isinstance(one, ProtocolError) or one == other or one != one


@given(st.lists(PIECES, max_size=6))
@FIXED
def test_any_bytes_give_a_client_messages_or_one_protocol_error(pieces: list[bytes]) -> None:
    connection = ClientConnection(1000)
    try:
        for piece in pieces:
            for answer in connection.receive(memoryview(piece)):
                assert answer.__struct_config__.frozen
    except ProtocolError as error:
        assert_ends_a_client(error)


def assert_ends_a_client(error: ProtocolError) -> None:
    assert error.code in {
        ErrorCode.FRAME_TOO_LARGE,
        ErrorCode.INVALID_FRAME,
        ErrorCode.INVALID_MESSAGE,
    }


def test_a_thousand_connections_that_announce_the_most_hold_nothing() -> None:
    connections = [greeted() for _ in range(1000)]
    header = HEADER.pack(MAX_FRAME_BYTES)
    tracemalloc.start()
    try:
        for connection in connections:
            outcomes(connection, header)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(connection.is_mid_frame for connection in connections)
    assert peak < 1000 * 300
