"""Nothing is lost: broken connections, killed daemons, killed workers."""

import time
from pathlib import Path

import psutil
import pytest

from flow.daemons import (
    DECODE_S,
    SLOW,
    Daemon,
    running_daemon,
)
from flow.independent_client import Client, refused, told
from flow.protocol_rules import Message
from flow.speech import PHRASE, RATE, SPEECH

# ── offsets: why nothing is lost ──────────────────────────────────────────────────────────────────


def commit_of(client: Client) -> int:
    """The last commit that the client has heard of."""
    told_it = (message for message in client.log if message["type"] in ("ack", "segment"))
    return max((message["offset"] for message in told_it), default=0)


@pytest.mark.parametrize("cut_s", [1.0, 3.0, 4.5, 9.0])
def test_a_broken_connection_is_resumed_and_the_transcript_is_that_of_an_unbroken_one(
    daemon: Daemon, unbroken: list[Message], cut_s: float
) -> None:
    """The client sends again what it holds: everything from its last commit on."""
    cut = round(cut_s * RATE)
    with daemon.connect() as first:
        welcome = first.hello()
        first.open(1, source="file")
        first.speak(1, SPEECH[: 2 * cut], offset=0)
        first.read_for(0.3)
    received = first.logged("segment", stream=1)
    committed = commit_of(first)
    second, again = daemon.resume(welcome, have={1: len(received) - 1})
    with second:
        assert again["resumed"] is True
        assert again["session"] == welcome["session"]
        assert again["streams"][1] >= committed
        second.speak(1, SPEECH[2 * committed :], offset=committed)
        received += second.finish(1)
        assert not second.logged("event", event="gap")
    assert told(received) == told(unbroken)


@pytest.mark.parametrize("last", [-1, 0, 2, 3])
def test_every_segment_after_have_comes_once_more(
    daemon: Daemon, unbroken: list[Message], last: int
) -> None:
    with daemon.connect() as first:
        welcome = first.hello()
        first.open(1, source="file")
        first.speak(1, SPEECH)
        first.send("flush", stream=1)
        first.expect("flushed", stream=1)
        assert told(first.logged("segment")) == told(unbroken)
    second, again = daemon.resume(welcome, have={1: last})
    with second:
        assert again["resumed"] is True
        assert again["streams"] == {1: len(SPEECH) // 2}
        assert told(second.finish(1)) == told(unbroken[last + 1 :])


def test_what_was_finished_while_nobody_was_connected_is_sent(
    slow_daemon: Daemon, unbroken: list[Message]
) -> None:
    """The client breaks off during a decode; the segment waits for it, and so does the end."""
    with slow_daemon.connect() as first:
        welcome = first.hello()
        first.open(1, source="file")
        first.speak(1, PHRASE)
        first.send("close", stream=1)
        first.expect("event", event="speech_end")
    time.sleep(DECODE_S + 0.5)
    second, again = slow_daemon.resume(welcome, have={1: -1})
    with second:
        assert again["resumed"] is True
        second.expect("segment", stream=1, id=0)
        closed = second.expect("closed", stream=1)
        assert (closed["reason"], closed["segments"]) == ("client", 1)


def test_a_session_that_is_still_connected_may_be_resumed_elsewhere(daemon: Daemon) -> None:
    """The client noticed the break before the daemon did."""
    with daemon.connect() as first:
        welcome = first.hello()
        first.open(1, source="file")
        first.speak(1, PHRASE)
        second, again = daemon.resume(welcome, have={1: -1})
        with second:
            assert again["resumed"] is True
            assert len(second.finish(1)) == 1
        first.read_to_end()


def test_a_token_may_be_used_for_every_break(daemon: Daemon, unbroken: list[Message]) -> None:
    """A connection that breaks after each second and a half of audio."""
    received: list[Message] = []
    committed = 0
    step = 3 * RATE // 2
    client = daemon.connect()
    welcome = client.hello()
    client.open(1, source="file")
    for begin in range(0, len(SPEECH) // 2, step):
        client.speak(1, SPEECH[2 * committed : 2 * (begin + step)], offset=committed)
        client.read_for(0.1)
        client.abandon()
        received += client.logged("segment", stream=1)
        committed = max(committed, commit_of(client))
        client, welcome = daemon.resume(welcome, have={1: len(received) - 1})
        assert welcome["resumed"] is True
    with client:
        client.speak(1, SPEECH[2 * committed :], offset=committed)
        received += client.finish(1)
    assert told(received) == told(unbroken)


def test_an_unknown_token_begins_a_new_session(daemon: Daemon) -> None:
    with daemon.connect() as client:
        welcome = client.hello(resume="nobody's", have={1: 5})
        assert welcome["resumed"] is False
        assert welcome["streams"] == {}
        client.send("flush", stream=1)
        refused(client, code="unknown_stream", fatal=False, stream=1)


def test_after_a_kill_the_streams_go_on_from_the_clients_last_commit(
    tmp_path: Path, unbroken: list[Message]
) -> None:
    """`kill -9` in the midst of speech; a new daemon; start_offset and start_id."""
    cut = round(4.5 * RATE)
    with running_daemon(tmp_path) as victim, victim.connect() as first:
        welcome = first.hello()
        first.open(1, source="file")
        first.speak(1, SPEECH[: 2 * cut], offset=0)
        first.expect("segment", stream=1)
        first.read_for(0.3)
        victim.kill()
        first.read_to_end()
    received = first.logged("segment", stream=1)
    committed = commit_of(first)
    with running_daemon(tmp_path) as heir, heir.connect() as second:
        again = second.hello(resume=welcome["resume"], have={1: received[-1]["id"]})
        assert again["resumed"] is False
        second.open(1, source="file", start_offset=committed, start_id=received[-1]["id"] + 1)
        second.speak(1, SPEECH[2 * committed :], offset=committed)
        received += second.finish(1)
        assert second.logged("closed")[0]["offset"] == len(SPEECH) // 2
    assert told(received) == told(unbroken)


def test_a_worker_that_is_killed_while_it_decodes_loses_nothing(
    tmp_path: Path, unbroken: list[Message]
) -> None:
    """The same utterance becomes its segment in the next worker; the stream never notices."""
    with running_daemon(tmp_path, *SLOW) as daemon, daemon.greet() as client:
        client.open(1, source="file", partials=False)
        client.speak(1, SPEECH[: 3 * 2 * RATE])
        client.expect("event", event="speech_end")
        for worker in psutil.Process(daemon.process.pid).children():
            worker.kill()
        client.ping()
        client.speak(1, SPEECH[3 * 2 * RATE :])
        assert told(client.finish(1)) == told(unbroken)
        assert not client.logged("error")
