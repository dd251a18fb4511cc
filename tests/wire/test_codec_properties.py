"""Whatever the bytes: a message that survives a round trip, or a documented refusal."""

from typing import Any

import msgpack
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from asrd.errors import ErrorCode, ProtocolError
from asrd.wire.codec import (
    CLIENT_TYPES,
    SERVER_TYPES,
    decode_client,
    decode_hello,
    decode_server,
    encode,
)
from asrd.wire.messages import (
    Ack,
    Audio,
    Cancel,
    ClientMessage,
    Close,
    Closed,
    Credit,
    Error,
    Event,
    Flush,
    Flushed,
    GetHealth,
    GetStats,
    Health,
    Hello,
    Load,
    Open,
    Opened,
    Partial,
    Ping,
    Pong,
    Segment,
    ServerMessage,
    Stats,
    Unload,
    Welcome,
    WordTime,
)
from asrd.wire.reports import ProviderHealth
from wire.make_golden import FRAMES, golden

FIXED = settings(derandomize=True, deadline=None, max_examples=200)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.integers(0, 2**64 - 1), inner, max_size=4)
    ),
    max_leaves=12,
)
TAGS = st.sampled_from([*CLIENT_TYPES, *SERVER_TYPES])
KEYS = st.sampled_from(sorted({key for fields in FRAMES.values() for key in fields} - {"type"}))
MAPS = st.builds(lambda tag, rest: {**rest, "type": tag}, TAGS, st.dictionaries(KEYS, VALUES))


def assert_decodes_or_is_refused(payload: bytes) -> None:
    """Whatever the bytes: a message that survives a round trip, or a documented refusal."""
    for decoder in (decode_client, decode_server, decode_hello):
        try:
            message = decoder(memoryview(payload))
        except ProtocolError as error:
            assert_is_documented(error)
        else:
            encode(message)


def assert_is_documented(error: ProtocolError) -> None:
    fatal = error.code not in {ErrorCode.INVALID_MESSAGE, ErrorCode.UNKNOWN_TYPE}
    assert error.fatal == fatal
    assert len(error.message) <= 500
    encode(Error(code=error.code, message=error.message, fatal=error.fatal))


@given(st.binary(max_size=200))
@FIXED
def test_arbitrary_bytes_are_a_message_or_a_refusal(payload: bytes) -> None:
    assert_decodes_or_is_refused(payload)


@given(VALUES)
@FIXED
def test_arbitrary_msgpack_is_a_message_or_a_refusal(value: object) -> None:
    assert_decodes_or_is_refused(msgpack.packb(value))


@given(MAPS)
@FIXED
def test_arbitrary_values_under_known_keys_are_a_message_or_a_refusal(fields: Any) -> None:
    assert_decodes_or_is_refused(msgpack.packb(fields))


@given(st.sampled_from(sorted(FRAMES)), st.data())
@settings(FIXED, max_examples=500)
def test_mutated_golden_frames_are_a_message_or_a_refusal(name: str, data: st.DataObject) -> None:
    payload = bytearray(golden(name)[4:])
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(payload)))
        match data.draw(st.sampled_from(["change", "insert", "remove"])):
            case "change" if position < len(payload):
                payload[position] = data.draw(st.integers(0, 255))
            case "insert":
                payload[position:position] = data.draw(st.binary(min_size=1, max_size=4))
            case _:
                del payload[position : position + 2]
    assert_decodes_or_is_refused(bytes(payload))


def has_nan(message: msgspec.Struct) -> bool:
    return message != message  # as NaN itself


@given(MAPS)
@FIXED
def test_what_decodes_is_the_same_after_encoding(fields: Any) -> None:
    payload = msgpack.packb(fields)
    for decoder in (decode_client, decode_server):
        try:
            message = decoder(memoryview(payload))
        except ProtocolError:
            continue
        again = decoder(memoryview(encode(message)[4:]))
        assert again == message or has_nan(message)


NUMBERS = st.integers(0, 2**53)
FINITE = st.floats(allow_nan=False)
ROUND_TRIPS = st.one_of(
    st.builds(
        Hello,
        client=st.text(max_size=20),
        resume=st.none() | st.text(max_size=20),
        have=st.dictionaries(st.integers(0, 2**64 - 1), NUMBERS, max_size=5),
    ),
    st.builds(
        Open,
        stream=st.integers(0, 2**64 - 1),
        source=st.text(min_size=1, max_size=64),
        priority=st.none() | st.integers(1, 10),
        delivery=st.sampled_from([None, "live", "lossless"]),
        provider=st.none() | st.text(max_size=20),
        language=st.none() | st.text(max_size=20),
        task=st.sampled_from(["transcribe", "translate"]),
        encoding=st.sampled_from(["pcm_s16le", "pcm_f32le"]),
        sample_rate=st.integers(8000, 96000),
        channels=st.integers(1, 8),
        partials=st.booleans(),
        words=st.booleans(),
        endpointing_ms=st.integers(100, 5000),
        prompt=st.none() | st.text(max_size=50),
        start_offset=NUMBERS,
        start_id=NUMBERS,
    ),
    st.builds(Audio, stream=NUMBERS, data=st.binary(max_size=300), offset=st.none() | NUMBERS),
    st.builds(Flush, stream=NUMBERS),
    st.builds(Close, stream=NUMBERS),
    st.builds(Cancel, stream=NUMBERS),
    st.builds(Ping, id=st.none() | NUMBERS | FINITE | st.text(max_size=20)),
    st.builds(GetHealth, deep=st.booleans()),
    st.builds(GetStats, streams=st.booleans()),
    st.builds(Load, provider=st.none() | st.text(max_size=20)),
    st.builds(Unload, model=st.none() | st.text(max_size=20)),
)


@given(ROUND_TRIPS)
@settings(FIXED, max_examples=500)
def test_any_client_message_comes_back_from_its_frame(message: ClientMessage) -> None:
    """Through our codec, and what msgpack alone reads has the same values."""
    payload = memoryview(encode(message)[4:])
    assert decode_client(payload) == message
    fields = msgpack.unpackb(payload, strict_map_key=False)
    assert fields.pop("type") == type(message).__struct_config__.tag
    assert fields == msgspec.structs.asdict(message)


WORDS = st.lists(
    st.builds(
        WordTime,
        word=st.text(max_size=10),
        start=FINITE,
        end=FINITE,
        probability=st.none() | FINITE,
    ),
    max_size=3,
)
ANSWERS = st.one_of(
    st.builds(
        Welcome,
        version=st.just(1),
        server=st.text(max_size=10),
        session=st.text(max_size=10),
        resume=st.text(max_size=10),
        resumed=st.booleans(),
        streams=st.dictionaries(st.integers(0, 2**64 - 1), NUMBERS, max_size=4),
        limits=st.dictionaries(st.text(max_size=8), NUMBERS | FINITE, max_size=4),
        providers=st.lists(st.text(max_size=8), max_size=4),
    ),
    st.builds(
        Opened,
        stream=NUMBERS,
        provider=st.text(max_size=8),
        model=st.text(max_size=8),
        priority=st.integers(1, 10),
        delivery=st.sampled_from(["live", "lossless"]),
        credit=st.just(msgspec.UNSET) | NUMBERS,
    ),
    st.builds(Credit, stream=NUMBERS, offset=NUMBERS),
    st.builds(
        Partial,
        stream=NUMBERS,
        id=NUMBERS,
        start=FINITE,
        end=FINITE,
        text=st.text(max_size=30),
        stable=st.integers(0, 30),
    ),
    st.builds(
        Segment,
        stream=NUMBERS,
        id=NUMBERS,
        start=FINITE,
        end=FINITE,
        text=st.text(max_size=30),
        offset=NUMBERS,
        provider=st.text(max_size=8),
        model=st.text(max_size=8),
        latency_ms=FINITE,
        words=st.just(msgspec.UNSET) | WORDS,
        language=st.just(msgspec.UNSET) | st.text(max_size=5),
        confidence=st.just(msgspec.UNSET) | FINITE,
    ),
    st.builds(Ack, stream=NUMBERS, offset=NUMBERS),
    st.builds(
        Event,
        stream=NUMBERS,
        event=st.text(max_size=12),
        at=FINITE,
        start=st.just(msgspec.UNSET) | FINITE,
        end=st.just(msgspec.UNSET) | FINITE,
        reason=st.just(msgspec.UNSET) | st.text(max_size=12),
        level=st.just(msgspec.UNSET) | st.integers(0, 9),
        action=st.just(msgspec.UNSET) | st.text(max_size=12),
    ),
    st.builds(Flushed, stream=NUMBERS, offset=NUMBERS),
    st.builds(
        Closed,
        stream=NUMBERS,
        reason=st.sampled_from(["client", "cancelled", "idle", "shutdown", "error"]),
        offset=NUMBERS,
        segments=NUMBERS,
        audio_seconds=FINITE,
        dropped_seconds=FINITE,
    ),
    st.builds(Pong, id=st.none() | NUMBERS | FINITE | st.text(max_size=20)),
    st.builds(
        Error,
        code=st.sampled_from(ErrorCode),
        message=st.text(max_size=30),
        fatal=st.booleans(),
        stream=st.just(msgspec.UNSET) | NUMBERS,
        retry_after_ms=st.just(msgspec.UNSET) | NUMBERS,
    ),
    st.builds(
        Health,
        state=st.sampled_from(["starting", "warming_up", "ready", "degraded", "unavailable"]),
        live=st.booleans(),
        ready=st.booleans(),
        providers=st.dictionaries(
            st.text(max_size=8),
            st.builds(
                ProviderHealth,
                state=st.just("ready"),
                model=st.text(max_size=8),
                last_inference_ms=st.none() | FINITE,
                load_s=st.none() | FINITE,
            ),
            max_size=3,
        ),
        uptime_s=FINITE,
    ),
    st.builds(
        Stats,
        counters=st.dictionaries(st.text(max_size=8), NUMBERS | FINITE, max_size=3),
        queues=st.dictionaries(
            st.text(max_size=8), st.dictionaries(st.text(max_size=8), NUMBERS | FINITE), max_size=3
        ),
        latencies=st.dictionaries(
            st.text(max_size=8), st.dictionaries(st.text(max_size=8), FINITE), max_size=3
        ),
        real_time_factor=st.none() | FINITE,
        level=st.integers(0, 9),
    ),
)


@given(ANSWERS)
@settings(FIXED, max_examples=500)
def test_any_answer_comes_back_from_its_frame(message: ServerMessage) -> None:
    assert decode_server(memoryview(encode(message)[4:])) == message
