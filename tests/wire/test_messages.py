"""Every row of the protocol's tables: defaults, bounds, types, and what is ignored."""

import math
from typing import Any, get_args

import msgpack
import msgspec
import pytest

from asrd.errors import ErrorCode, ProtocolError
from asrd.wire.codec import decode_client, decode_server
from asrd.wire.messages import (
    Audio,
    Cancel,
    ClientMessage,
    Close,
    Closed,
    Flush,
    GetHealth,
    GetStats,
    Hello,
    Load,
    Open,
    Ping,
    ServerMessage,
    Unload,
)
from wire.make_golden import FRAMES

UINT64_MAX = 2**64 - 1
OFFSET_MAX = 2**53

REQUIRED: dict[str, dict[str, Any]] = {
    "hello": {},
    "open": {"stream": 7},
    "audio": {"stream": 7, "data": b"\x01\x00"},
    "flush": {"stream": 7},
    "close": {"stream": 7},
    "cancel": {"stream": 7},
    "ping": {},
    "health": {},
    "stats": {},
    "load": {},
    "unload": {},
}
"""What each message cannot be without."""

DEFAULTS: dict[str, ClientMessage] = {
    "hello": Hello(version=1, client="", resume=None, have={}),
    "open": Open(
        stream=7,
        source="mic",
        priority=None,
        delivery=None,
        provider=None,
        model=None,
        language=None,
        task="transcribe",
        encoding="pcm_s16le",
        sample_rate=16000,
        channels=1,
        partials=True,
        words=False,
        endpointing_ms=None,
        prompt=None,
        start_offset=0,
        start_id=0,
    ),
    "audio": Audio(stream=7, data=b"\x01\x00", offset=None),
    "flush": Flush(stream=7),
    "close": Close(stream=7),
    "cancel": Cancel(stream=7),
    "ping": Ping(id=None),
    "health": GetHealth(deep=False),
    "stats": GetStats(streams=False),
    "load": Load(provider=None, model=None),
    "unload": Unload(provider=None, model=None),
}

STREAM_NUMBERS = [0, 1, 2**32, UINT64_MAX]
OFFSETS = [0, 1, 2**32, OFFSET_MAX]
NAMES = ["", "x", "n" * 512, "größer 大"]

ACCEPTED: list[tuple[str, str, list[Any]]] = [
    ("hello", "version", [1]),
    ("hello", "client", NAMES),
    ("hello", "resume", ["", "t" * 128]),
    (
        "hello",
        "have",
        [{}, {0: 0}, {UINT64_MAX: OFFSET_MAX}, dict.fromkeys(range(4096), 1)],
    ),
    ("open", "stream", STREAM_NUMBERS),
    ("open", "source", ["mic", "system", "file", "x", "s" * 64]),
    ("open", "priority", [1, 2, 5, 10]),
    ("open", "delivery", ["live", "lossless"]),
    ("open", "provider", NAMES),
    ("open", "model", NAMES),
    ("open", "language", ["en", "zh-Hant-TW", "l" * 32]),
    ("open", "task", ["transcribe", "translate"]),
    ("open", "encoding", ["pcm_s16le", "pcm_f32le"]),
    ("open", "sample_rate", [8000, 11025, 44100, 48000, 96000]),
    ("open", "channels", [1, 2, 8]),
    ("open", "partials", [True, False]),
    ("open", "words", [True, False]),
    ("open", "endpointing_ms", [100, 500, 5000]),
    ("open", "prompt", ["", "p" * 4096]),
    ("open", "start_offset", OFFSETS),
    ("open", "start_id", OFFSETS),
    ("audio", "stream", STREAM_NUMBERS),
    ("audio", "data", [b"", b"\x00\x00", bytes(65536)]),
    ("audio", "offset", OFFSETS),
    ("flush", "stream", STREAM_NUMBERS),
    ("close", "stream", STREAM_NUMBERS),
    ("cancel", "stream", STREAM_NUMBERS),
    ("ping", "id", [0, -1, -(2**63), UINT64_MAX, 1.5, math.inf, "", "i" * 128]),
    ("health", "deep", [True, False]),
    ("stats", "streams", [True, False]),
    ("load", "provider", NAMES),
    ("load", "model", NAMES),
    ("unload", "provider", NAMES),
    ("unload", "model", NAMES),
]

NOT_AN_INT: list[Any] = [True, False, 1.0, math.nan, math.inf, "1", b"1", [1], {1: 1}]
NOT_A_STREAM = [*NOT_AN_INT, -1, -(2**63)]
NOT_AN_OFFSET = [*NOT_A_STREAM, OFFSET_MAX + 1, UINT64_MAX]
NOT_A_STRING: list[Any] = [b"text", 1, 1.5, True, ["text"], {"text": 1}]
NOT_A_BOOL: list[Any] = [0, 1, 1.0, "true", b"\x01", [True]]

REFUSED: list[tuple[str, str, list[Any]]] = [
    ("hello", "version", NOT_AN_INT),
    ("hello", "client", [*NOT_A_STRING, "n" * 513]),
    ("hello", "resume", [*NOT_A_STRING, "t" * 129]),
    (
        "hello",
        "have",
        [
            1,
            "{}",
            [],
            [[1, 2]],
            {"1": 2},
            {b"1": 2},
            {1.5: 2},
            {-1: 2},
            {True: 2},
            {1: "2"},
            {1: 2.0},
            {1: -1},
            {1: True},
            {1: None},
            {1: OFFSET_MAX + 1},
            dict.fromkeys(range(4097), 1),
        ],
    ),
    ("open", "stream", NOT_A_STREAM),
    ("open", "source", [*NOT_A_STRING, "", "s" * 65]),
    ("open", "priority", [*NOT_AN_INT, 0, 11, -1, UINT64_MAX]),
    ("open", "delivery", [*NOT_A_STRING, "", "LIVE", "lossy"]),
    ("open", "provider", [*NOT_A_STRING, "n" * 513]),
    ("open", "model", [*NOT_A_STRING, "n" * 513]),
    ("open", "language", [*NOT_A_STRING, "l" * 33]),
    ("open", "task", [*NOT_A_STRING, "", "summarise"]),
    ("open", "encoding", [*NOT_A_STRING, "", "pcm_s16be", "opus"]),
    ("open", "sample_rate", [*NOT_AN_INT, 0, 7999, 96001, 16000.0, UINT64_MAX]),
    ("open", "channels", [*NOT_AN_INT, 0, 9, -1]),
    ("open", "partials", NOT_A_BOOL),
    ("open", "words", NOT_A_BOOL),
    ("open", "endpointing_ms", [*NOT_AN_INT, 0, 99, 5001, 500.0]),
    ("open", "prompt", [*NOT_A_STRING, "p" * 4097]),
    ("open", "start_offset", NOT_AN_OFFSET),
    ("open", "start_id", NOT_AN_OFFSET),
    ("audio", "stream", NOT_A_STREAM),
    ("audio", "data", ["AAAA", "", 1, 1.5, True, [0, 0], {0: 0}]),
    ("audio", "offset", NOT_AN_OFFSET),
    ("flush", "stream", NOT_A_STREAM),
    ("close", "stream", NOT_A_STREAM),
    ("cancel", "stream", NOT_A_STREAM),
    ("ping", "id", [True, b"1", [1], {1: 1}, "i" * 129]),
    ("health", "deep", NOT_A_BOOL),
    ("stats", "streams", NOT_A_BOOL),
    ("load", "provider", [*NOT_A_STRING, "n" * 513]),
    ("load", "model", [*NOT_A_STRING, "n" * 513]),
    ("unload", "provider", [*NOT_A_STRING, "n" * 513]),
    ("unload", "model", [*NOT_A_STRING, "n" * 513]),
]


def each(table: list[tuple[str, str, list[Any]]]) -> list[Any]:
    return [
        pytest.param(kind, key, value, id=f"{kind}-{key}-{number}")
        for kind, key, values in table
        for number, value in enumerate(values)
    ]


def packed(value: object) -> memoryview:
    return memoryview(msgpack.packb(value))


def client(kind: str, **fields: Any) -> ClientMessage:
    """The message of that type: what it must have, and these keys."""
    return decode_client(packed({"type": kind, **REQUIRED[kind], **fields}))


def refusal(fields: dict[Any, Any]) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        decode_client(packed(fields))
    return caught.value


def keys_of(kind: type[ClientMessage]) -> set[str]:
    return set(kind.__struct_fields__)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_absent_keys_have_the_defaults_of_the_protocol(kind: str) -> None:
    assert client(kind) == DEFAULTS[kind]


@pytest.mark.parametrize("kind", DEFAULTS)
def test_an_optional_key_that_is_nil_is_as_if_absent(kind: str) -> None:
    optional = keys_of(type(DEFAULTS[kind])) - REQUIRED[kind].keys()
    assert client(kind, **dict.fromkeys(optional)) == DEFAULTS[kind]


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind, required in REQUIRED.items() for key in required]
)
@pytest.mark.parametrize("nil", [True, False], ids=["nil", "absent"])
def test_a_required_key_may_be_neither_absent_nor_nil(kind: str, key: str, nil: bool) -> None:
    fields = {"type": kind, **REQUIRED[kind], key: None}
    if not nil:
        del fields[key]
    error = refusal(fields)
    assert (error.code, error.fatal) == (ErrorCode.INVALID_MESSAGE, False)
    assert key in error.message


@pytest.mark.parametrize(("kind", "key", "value"), each(ACCEPTED))
def test_a_value_within_its_bounds_is_taken_as_it_is(kind: str, key: str, value: Any) -> None:
    taken = getattr(client(kind, **{key: value}), key)
    assert taken == value
    assert type(taken) is type(value)


@pytest.mark.parametrize(("kind", "key", "value"), each(REFUSED))
def test_a_value_of_the_wrong_type_or_past_a_bound_drops_the_frame_alone(
    kind: str, key: str, value: Any
) -> None:
    error = refusal({"type": kind, **REQUIRED[kind], key: value})
    assert (error.code, error.fatal) == (ErrorCode.INVALID_MESSAGE, False)
    assert kind in error.message
    assert len(error.message) <= 500


def test_the_tables_of_this_file_name_every_key_of_every_message() -> None:
    """A key that joins the protocol must join the tables."""
    every = {
        (str(kind.__struct_config__.tag), key)
        for kind in get_args(ClientMessage)
        for key in kind.__struct_fields__
    }
    assert {(kind, key) for kind, key, _ in ACCEPTED} == every
    assert {(kind, key) for kind, key, _ in REFUSED} == every


def test_not_a_number_is_a_float_and_may_name_a_ping() -> None:
    """A float that equals nothing is still a float; nothing is computed with it."""
    ping = client("ping", id=math.nan)
    assert isinstance(ping, Ping)
    assert isinstance(ping.id, float)
    assert math.isnan(ping.id)


@pytest.mark.parametrize("kind", DEFAULTS)
@pytest.mark.parametrize(
    "junk",
    [
        1,
        None,
        [],
        {"deep": {"er": [1, 2]}},
        b"bin",
        msgpack.ExtType(5, b"ext"),
        msgpack.Timestamp(1, 2),
        {1: {2: 3}},
        list(range(5000)),
    ],
    ids=repr,
)
def test_unknown_keys_are_ignored_whatever_they_hold(kind: str, junk: object) -> None:
    assert client(kind, unheard_of=junk) == DEFAULTS[kind]


@pytest.mark.parametrize("name", [name for name in FRAMES if name.startswith("server_")])
def test_a_client_ignores_keys_that_it_does_not_know(name: str) -> None:
    plain = decode_server(packed(FRAMES[name]))
    assert decode_server(packed({**FRAMES[name], "unheard_of": [1]})) == plain


@pytest.mark.parametrize("tag", ["", "Hello", "hello ", "welcome", "x" * 10_000, "größer"])
def test_an_unknown_type_drops_the_frame_alone(tag: str) -> None:
    error = refusal({"type": tag, "stream": 3})
    assert (error.code, error.fatal) == (ErrorCode.UNKNOWN_TYPE, False)
    assert error.stream == 3
    assert len(error.message) < 200


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stream": 3},
        {"type": None},
        {"type": 1},
        {"type": b"ping"},
        {"type": ["ping"]},
        {"type": msgpack.Timestamp(1)},
    ],
    ids=repr,
)
def test_a_map_without_a_type_that_is_a_string_drops_the_frame_alone(fields: Any) -> None:
    error = refusal(fields)
    assert (error.code, error.fatal) == (ErrorCode.INVALID_MESSAGE, False)


@pytest.mark.parametrize(
    ("stream", "named"), [(0, 0), (UINT64_MAX, UINT64_MAX), (-1, None), (True, None), ("3", None)]
)
def test_a_refusal_names_the_stream_where_the_frame_did(stream: Any, named: int | None) -> None:
    assert refusal({"type": "audio", "stream": stream}).stream == named


def test_nil_is_absent_to_a_client_too() -> None:
    fields = {**FRAMES["server_segment"], "words": None, "language": None, "confidence": None}
    absent = {key: value for key, value in fields.items() if value is not None}
    assert decode_server(packed(fields)) == decode_server(packed(absent))


@pytest.mark.parametrize(
    "kind", get_args(ClientMessage | ServerMessage), ids=lambda kind: str(kind.__name__)
)
def test_a_key_that_may_be_nil_may_be_absent(kind: type[msgspec.Struct]) -> None:
    """Since nil is read as absence, a key that were required and nil could not be read at all."""
    for field in msgspec.structs.fields(kind):
        if type(None) in get_args(field.type):
            assert not field.required, field.name


@pytest.mark.parametrize("reason", ["client", "cancelled", "idle", "shutdown", "error"])
def test_a_stream_closes_for_one_of_five_reasons(reason: str) -> None:
    closed = decode_server(packed({**FRAMES["server_closed"], "reason": reason}))
    assert isinstance(closed, Closed)
    assert closed.reason == reason


@pytest.mark.parametrize("name", [name for name in FRAMES if name.startswith("server_")])
def test_a_client_refuses_an_answer_that_lacks_its_keys(name: str) -> None:
    kind = FRAMES[name]["type"]
    if kind == "pong":  # its id may be absent
        return
    with pytest.raises(ProtocolError) as caught:
        decode_server(packed({"type": kind}))
    assert caught.value.code is ErrorCode.INVALID_MESSAGE


def test_messages_are_values_that_cannot_be_changed() -> None:
    for message in DEFAULTS.values():
        assert type(message).__struct_config__.frozen


def test_no_two_messages_of_one_direction_bear_the_same_type() -> None:
    for union in (ClientMessage, ServerMessage):
        tags = [kind.__struct_config__.tag for kind in get_args(union)]
        assert len(tags) == len(set(tags))
