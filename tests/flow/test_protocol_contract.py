"""The protocol, sentence by sentence, held against a real daemon.

Here: hello, frames, open, and questions. `test_protocol_*.py` beside it have the other chapters.
"""

import re
import struct
import time
from pathlib import Path
from typing import Any

import msgpack
import pytest

from flow.daemons import (
    Daemon,
)
from flow.independent_client import Client, frame, recorded, refused, told
from flow.protocol_rules import Message
from flow.speech import PHRASE, SPEECH

OPTIONAL_KEYS_OF_OPEN = [
    *("source", "priority", "delivery", "provider", "model", "language", "task", "encoding"),
    *("sample_rate", "channels", "partials", "words", "endpointing_ms", "prompt"),
    *("start_offset", "start_id"),
]


# ── hello ─────────────────────────────────────────────────────────────────────────────────────────


def test_hello_is_answered_by_welcome(daemon: Daemon) -> None:
    with daemon.connect() as client:
        welcome = client.hello()
    assert welcome["resumed"] is False
    assert welcome["streams"] == {}
    assert welcome["limits"]["max_frame_bytes"] == 2**20
    assert welcome["limits"]["max_chunk_bytes"] == 65_536
    assert welcome["limits"]["resume_window_s"] == 60
    assert "echo" in welcome["providers"]
    assert welcome["resume"]
    assert welcome["server"].startswith("asrd ")


def test_welcome_names_the_limits_of_the_published_protocol(client: Client) -> None:
    """Each row of the document's table, with its value, and none beside."""
    document = Path(__file__).parents[2] / "daemon" / "PROTOCOL.md"
    chapter = document.read_text(encoding="utf-8").partition("\n## Limits and time\n")[2]
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", chapter.partition("\n## ")[0], re.MULTILINE)
    assert client.logged("welcome")[0]["limits"] == {name: float(value) for name, value in rows}


def test_every_connection_has_a_session_and_a_token_of_its_own(daemon: Daemon) -> None:
    with daemon.connect() as one, daemon.connect() as other:
        first, second = one.hello(), other.hello()
    assert first["session"] != second["session"]
    assert first["resume"] != second["resume"]


def test_hello_may_say_nothing_but_its_type(daemon: Daemon) -> None:
    with daemon.connect() as client:
        client.send("hello")
        client.expect("welcome")


def test_optional_keys_may_be_nil_and_unknown_keys_are_ignored(daemon: Daemon) -> None:
    with daemon.connect() as client:
        client.send("hello", client=None, resume=None, have=None, colour="green", more={"a": [1]})
        assert client.expect("welcome")["resumed"] is False
        client.knows(1, 0)
        nothing = dict.fromkeys(OPTIONAL_KEYS_OF_OPEN)
        client.send("open", stream=1, colour="green", **nothing)
        opened = client.expect("opened", stream=1)
    assert (opened["priority"], opened["delivery"]) == (1, "live")


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "open", "stream": 1},
        {"type": "audio", "stream": 1, "data": b""},
        {"type": "flush", "stream": 1},
        {"type": "close", "stream": 1},
        {"type": "cancel", "stream": 1},
        {"type": "ping", "id": 1},
        {"type": "health"},
        {"type": "stats"},
        {"type": "load"},
        {"type": "unload"},
        {"type": "nonsense"},
    ],
    ids=lambda fields: str(fields["type"]),
)
def test_anything_else_first_is_refused_and_the_connection_ends(
    daemon: Daemon, fields: dict[str, Any]
) -> None:
    with daemon.connect() as client:
        client.send(**fields)
        refused(client, code="hello_expected", fatal=True)


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_refused(daemon: Daemon, version: int) -> None:
    with daemon.connect() as client:
        client.send("hello", version=version)
        error = client.answer()
        assert error["code"] == "unsupported_version"


# ── frames ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [0, 2**20 + 1, 2**31, 2**32 - 1])
def test_a_bad_length_ends_the_connection_and_no_other(daemon: Daemon, length: int) -> None:
    with daemon.greet() as bystander, daemon.greet() as client:
        client.send_bytes(struct.pack(">I", length))
        refused(client, code="frame_too_large", fatal=True)
        bystander.ping()


@pytest.mark.parametrize(
    "payload",
    [b"\xc1", b"\x81", b"\xc0", msgpack.packb([1]), msgpack.packb("ping"), b"\x80\x80", b"\xff"],
    ids=repr,
)
def test_a_frame_that_is_not_one_well_formed_map_ends_the_connection_and_no_other(
    daemon: Daemon, payload: bytes
) -> None:
    with daemon.greet() as bystander, daemon.greet() as client:
        client.send_bytes(struct.pack(">I", len(payload)) + payload)
        refused(client, code="invalid_frame", fatal=True)
        bystander.ping()


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "open"},
        {"type": "open", "stream": "1"},
        {"type": "open", "stream": -1},
        {"type": "open", "stream": True},
        {"type": "open", "stream": 1, "sample_rate": 7999},
        {"type": "open", "stream": 1, "sample_rate": 96001},
        {"type": "open", "stream": 1, "channels": 0},
        {"type": "open", "stream": 1, "channels": 9},
        {"type": "open", "stream": 1, "priority": 0},
        {"type": "open", "stream": 1, "priority": 11},
        {"type": "open", "stream": 1, "endpointing_ms": 99},
        {"type": "open", "stream": 1, "endpointing_ms": 5001},
        {"type": "open", "stream": 1, "encoding": "mp3"},
        {"type": "open", "stream": 1, "task": "sing"},
        {"type": "open", "stream": 1, "delivery": "post"},
        {"type": "open", "stream": 1, "start_offset": -1},
        {"type": "audio", "stream": 1},
        {"type": "audio", "stream": 1, "data": "AAAA"},
        {"type": "audio", "stream": 1, "data": b"", "offset": -1},
        {"type": "health", "deep": "yes"},
        {"type": 5},
        {},
    ],
    ids=repr,
)
def test_a_map_that_breaks_its_schema_is_dropped_and_the_connection_goes_on(
    client: Client, fields: dict[str, Any]
) -> None:
    payload = msgpack.packb(fields)
    client.send_bytes(struct.pack(">I", len(payload)) + payload)
    refused(client, code="invalid_message", fatal=False)
    client.ping()


def test_an_unknown_type_is_dropped_and_the_connection_goes_on(client: Client) -> None:
    client.send("sing", song="yellow submarine")
    refused(client, code="unknown_type", fatal=False)
    client.ping()


def test_a_frame_may_come_byte_by_byte(daemon: Daemon) -> None:
    with daemon.connect() as client:
        for byte in frame(type="hello", version=1):
            client.send_bytes(bytes([byte]))
        client.expect("welcome")


def test_a_frame_of_the_most_bytes_is_taken(client: Client) -> None:
    data = frame(type="ping", id=7, padding=bytes(2**20 - 30))
    padding = 2**20 - 30 + 2**20 + 4 - len(data)
    data = frame(type="ping", id=7, padding=bytes(padding))
    assert len(data) == 2**20 + 4
    client.send_bytes(data)
    client.expect("pong", id=7)


# ── open ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "priority", "delivery"),
    [
        ({}, 1, "live"),
        ({"source": "mic"}, 1, "live"),
        ({"source": "system"}, 2, "live"),
        ({"source": "file"}, 5, "lossless"),
        ({"source": "anything"}, 5, "lossless"),
        ({"source": "mic", "priority": 10, "delivery": "lossless"}, 10, "lossless"),
        ({"source": "file", "priority": 1, "delivery": "live"}, 1, "live"),
    ],
)
def test_source_sets_the_defaults_of_priority_and_delivery(
    client: Client, asked: dict[str, Any], priority: int, delivery: str
) -> None:
    opened = client.open(3, **asked)
    assert (opened["priority"], opened["delivery"]) == (priority, delivery)
    assert opened["provider"] == "echo"
    assert opened["model"]
    assert (opened.get("credit") is not None) == (delivery == "lossless")


def test_opened_names_a_credit_ahead_of_where_the_stream_starts(client: Client) -> None:
    first = client.open(1, source="file")["credit"]
    assert first > 0
    later = client.open(2, source="file", start_offset=1_000_000)["credit"]
    assert later == first + 1_000_000
    at_48k = client.open(3, source="file", sample_rate=48_000)["credit"]
    assert at_48k == 3 * first


def test_an_open_stream_cannot_be_opened_again(client: Client) -> None:
    client.open(1)
    client.send("open", stream=1)
    refused(client, code="stream_exists", fatal=False, stream=1)
    client.speak(1, PHRASE)
    assert len(client.finish(1)) == 1


def test_any_unsigned_integer_may_number_a_stream(client: Client) -> None:
    for stream in (0, 2**32, 2**64 - 1):
        client.open(stream, source="file")
        client.speak(stream, PHRASE)
        assert len(client.finish(stream)) == 1


def test_the_number_of_a_stream_that_ended_may_be_used_again(client: Client) -> None:
    """It is a new stream: its ids and its clock begin anew."""
    for _ in range(2):
        client.open(1, source="file")
        client.speak(1, PHRASE, offset=0)
        client.send("close", stream=1)
        client.expect("closed", stream=1)
    assert [segment["id"] for segment in client.logged("segment")] == [0, 0]


def test_nobody_need_wait_for_opened(daemon: Daemon, unbroken: list[Message]) -> None:
    """Hello, open, audio and close in one go, as a recorded session holds them."""
    with daemon.connect() as client:
        client.knows(1, 0)
        client.send_bytes(recorded(SPEECH) + frame(type="close", stream=1))
        client.expect("closed", stream=1)
        assert [m["type"] for m in client.log[:2]] == ["welcome", "opened"]
        assert told(client.logged("segment")) == told(unbroken)


def test_audio_behind_an_open_that_was_refused_belongs_to_no_stream(client: Client) -> None:
    client.send("open", stream=1, provider="nobody")
    client.send("audio", stream=1, data=bytes(640))
    refused(client, code="unknown_provider", fatal=False, stream=1)
    refused(client, code="unknown_stream", fatal=False, stream=1)


def test_a_model_that_the_provider_does_not_have_is_unavailable(client: Client) -> None:
    client.send("open", stream=1, provider="echo", model="none such")
    refused(client, code="provider_unavailable", fatal=False, stream=1)
    client.open(1)


def test_a_language_that_was_asked_for_is_told(client: Client) -> None:
    client.open(1, source="file", language="de")
    client.speak(1, PHRASE)
    assert client.finish(1)[0]["language"] == "de"


def test_an_unknown_provider_is_refused(client: Client) -> None:
    client.send("open", stream=1, provider="nobody")
    refused(client, code="unknown_provider", fatal=False, stream=1)
    client.ping()


def test_more_streams_than_the_limit_are_refused(daemon: Daemon) -> None:
    with daemon.connect() as client:
        most = client.hello()["limits"]["max_streams"]
        for stream in range(most):
            client.open(stream)
        client.send("open", stream=most)
        refused(client, code="too_many_streams", fatal=False, stream=most)
        client.send("cancel", stream=0)
        client.expect("closed", stream=0)
        client.open(most)


@pytest.mark.parametrize("kind", ["audio", "flush", "close", "cancel"])
def test_a_stream_that_is_not_open_is_unknown(client: Client, kind: str) -> None:
    more = {"data": b"\x00\x00"} if kind == "audio" else {}
    client.send(kind, stream=9, **more)
    refused(client, code="unknown_stream", fatal=False, stream=9)
    client.open(9)
    client.finish(9)
    client.send(kind, stream=9, **more)
    refused(client, code="unknown_stream", fatal=False, stream=9)
    client.ping()


# ── ping, health, stats, load ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [0, -5, 2**63, 1.5, "", "größer"], ids=repr)
def test_ping_is_answered_with_the_same_id(client: Client, number: Any) -> None:
    client.send("ping", id=number)
    assert client.expect("pong")["id"] == number


def test_ping_is_answered_while_audio_is_worked_on(client: Client) -> None:
    client.open(1, source="file")
    for number in range(20):
        client.send("audio", stream=1, data=SPEECH[:64_000])
        client.send("ping", id=number)
    for number in range(20):
        client.expect("pong", id=number)


def test_ping_is_answered_while_a_decode_is_under_way(slow_daemon: Daemon) -> None:
    with slow_daemon.greet() as client:
        client.open(1, source="file")
        client.speak(1, PHRASE)
        client.expect("event", event="speech_end")
        begin = time.monotonic()
        client.ping()
        assert time.monotonic() - begin < 1
        assert client.logged("segment") == []
        client.send("cancel", stream=1)


@pytest.mark.parametrize("deep", [None, False, True])
def test_health_says_how_daemon_and_providers_are(client: Client, deep: bool | None) -> None:
    client.open(1)
    client.send("health", deep=deep)
    health = client.expect("health")
    assert (health["state"], health["live"], health["ready"]) == ("ready", True, True)
    assert health["providers"]["echo"]["state"] == "ready"
    assert health["uptime_s"] > 0
    if deep:
        assert health["providers"]["echo"]["last_inference_ms"] is not None


def test_stats_are_answered(client: Client) -> None:
    client.send("stats")
    stats = client.expect("stats")
    assert len(stats) > 1


def test_load_and_unload_are_answered_by_health_when_done(daemon: Daemon) -> None:
    with daemon.greet() as client:
        client.send("load", provider="echo")
        assert client.expect("health")["providers"]["echo"]["state"] == "ready"
        client.send("load", provider="nobody")
        refused(client, code="unknown_provider", fatal=False)
        client.send("unload", provider="echo")
        client.expect("health")
        client.send("load")
        assert client.expect("health")["providers"]["echo"]["state"] == "ready"
        client.open(1, source="file")
        client.speak(1, PHRASE)
        assert len(client.finish(1)) == 1
