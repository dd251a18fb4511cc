"""A program that listens, under a whole daemon: real speech in, its words out, and none lost."""

import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import psutil
import pytest

from asrd.choices import Setting
from asrd.wire.messages import Partial, Segment
from support.audio import SAMPLE_RATE, read_wav, silent_pcm
from support.daemon import Daemon, is_alive, running_daemon
from support.errors import word_error_rate
from support.listening import PROGRAM, pcm, settings
from support.waiting import wait_until
from support.wire_client import texts

if TYPE_CHECKING:
    from conftest import Recording

MANNERS: dict[str, dict[str, Setting]] = {
    "recycle": {"end": "recycle", "padding_ms": 0},
    "pad": {"end": "pad", "quiet_ms": 500, "spares": 0},
}
ENDS_AT_S = 13.0
"""A pause of two_cities.wav; so much of it is enough."""


@pytest.fixture(scope="module", params=MANNERS)
def daemon(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("process")
    told = settings(**MANNERS[request.param])
    with running_daemon(folder, provider="process", settings=told) as daemon:
        yield daemon


def programs(daemon: Daemon) -> list[int]:
    """The listening programs that run."""
    below = psutil.Process(daemon.pid).children(recursive=True)
    return [one.pid for one in below if is_alive(one.pid) and str(PROGRAM) in one.cmdline()]


def speech(two_cities: "Recording") -> bytes:
    return pcm(read_wav(two_cities.path)[: round(ENDS_AT_S * SAMPLE_RATE)])


def transcript(two_cities: "Recording") -> str:
    return two_cities.transcript.split(" it was the season", 1)[0]


def test_a_novel_is_read(daemon: Daemon, two_cities: "Recording") -> None:
    with daemon.greet() as client:
        segments = client.transcribe(1, speech(two_cities), source="file")
    text = " ".join(texts(segments))
    assert word_error_rate([(transcript(two_cities), text)]) < 0.15, text


def test_two_streams_share_one_program(daemon: Daemon, two_cities: "Recording") -> None:
    """It hears one utterance at a time; of two that are spoken at once, both are read."""
    data = speech(two_cities)
    with daemon.greet() as client:
        client.open(1, source="mic", partials=True)
        client.open(2, source="file")
        half_s = SAMPLE_RATE  # bytes
        for begin in range(0, len(data), half_s):
            for stream in (1, 2):
                client.speak(stream, data[begin : begin + half_s])
        client.finish(1, 2)
        for stream in (1, 2):
            text = " ".join(texts(client.logged(Segment, stream)))
            assert word_error_rate([(transcript(two_cities), text)]) < 0.15, text


def test_a_program_that_is_killed_costs_no_text(daemon: Daemon, two_cities: "Recording") -> None:
    data = speech(two_cities)
    middle = round(2.6 * SAMPLE_RATE) * 2  # amid the first sentence
    with daemon.greet() as client:
        client.open(1, source="file")
        client.speak(1, data[:middle])
        before = wait_until(lambda: programs(daemon), "a program")
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        client.speak(1, data[middle:])
        client.finish(1)
        text = " ".join(texts(client.logged(Segment, 1)))
    assert word_error_rate([(transcript(two_cities), text)]) < 0.15, text


def test_a_worker_that_is_killed_takes_its_programs_along_and_costs_no_text(
    daemon: Daemon, two_cities: "Recording"
) -> None:
    data = speech(two_cities)
    middle = round(2.6 * SAMPLE_RATE) * 2
    with daemon.greet() as client:
        client.open(1, source="file")
        client.speak(1, data[:middle])
        before = wait_until(lambda: programs(daemon), "a program")
        os.kill(daemon.worker("process/program"), signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, before)), "the end of its programs", 2.0)
        client.speak(1, data[middle:])
        client.finish(1)
        text = " ".join(texts(client.logged(Segment, 1)))
    assert word_error_rate([(transcript(two_cities), text)]) < 0.15, text


def test_partials_tell_what_the_program_has_printed(
    daemon: Daemon, two_cities: "Recording"
) -> None:
    """At the pace of speech; what is stable stays."""
    data = speech(two_cities)[: round(5.0 * SAMPLE_RATE) * 2]
    with daemon.greet() as client:
        client.open(1, source="mic", partials=True)
        tenth_s = SAMPLE_RATE // 10 * 2
        for begin in range(0, len(data), tenth_s):
            client.speak(1, data[begin : begin + tenth_s])
            time.sleep(0.1)
        client.speak(1, silent_pcm(1.0))
        client.finish(1)
        partials = client.logged(Partial, 1)
        (segment, *_) = client.logged(Segment, 1)
    first = [each for each in partials if each.id == partials[0].id]
    assert any(each.stable > 0 for each in first)
    for before, after in pairwise(first):
        assert after.text.startswith(before.text[: before.stable])
    assert segment.text.startswith(first[-1].text[: first[-1].stable])
