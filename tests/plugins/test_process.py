"""`process` with a real program that listens: what it hears, how utterances end, and mishaps."""

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import psutil
import pytest

from asrd import (
    DecodeCancelled,
    DecodeOptions,
    Hypothesis,
    Model,
    ModelUnavailable,
    ProviderError,
    Setting,
)
from asrd.providers.engine import checked
from asrd_process import ProcessProvider
from asrd_process.model import ProcessModel
from support.audio import SAMPLE_RATE, Samples, read_wav, silence
from support.daemon import is_alive
from support.errors import word_error_rate
from support.listening import feed_all, settings, text_alone
from support.waiting import wait_until
from support.workers import load, run, unwarmed, worker_process

if TYPE_CHECKING:
    from conftest import Recording

OPTIONS = DecodeOptions()
GONE_WITHIN_S = 2.0
MANNERS: dict[str, dict[str, Setting]] = {
    "recycle": {"end": "recycle", "padding_ms": 0},
    "pad": {"end": "pad", "padding_ms": 1500, "quiet_ms": 400, "spares": 0},
}


def keep_going() -> bool:
    return True


def loaded(*options: str, **more: Setting) -> ProcessModel:
    model = ProcessProvider().load("program", settings(*options, **more))
    assert isinstance(model, ProcessModel)
    return model


@pytest.fixture(scope="module")
def phrases(two_cities: "Recording") -> list[Samples]:
    """Two pieces of a novel, cut at pauses."""
    audio = read_wav(two_cities.path)
    cuts = [round(at_s * SAMPLE_RATE) for at_s in (0.9, 4.8, 8.35)]
    return [audio[begin:end] for begin, end in pairwise(cuts)]


@pytest.fixture(scope="module", params=MANNERS)
def manner(request: pytest.FixtureRequest) -> dict[str, Setting]:
    return MANNERS[request.param]


@pytest.fixture(scope="module")
def model(manner: dict[str, Setting]) -> Iterator[Model]:
    model = loaded(**manner)
    yield model
    model.close()


def assert_read(text: str, phrase: Samples, manner: dict[str, Setting]) -> None:
    """It is what the program makes of the phrase by itself.

    To the letter where each has a program of its own. One that is kept reads its input in the same
    portions as ever, which begin elsewhere in the second phrase than in the first, and so agrees
    with itself at other moments.
    """
    alone = text_alone(phrase, int(manner["padding_ms"]))
    if manner["end"] == "recycle":
        assert text == alone
    else:
        assert word_error_rate([(alone, text)]) < 0.2
    assert len(text.split()) >= 8


# ── what it hears ─────────────────────────────────────────────────────────────────────────────


def test_an_utterance_is_heard_whole_and_grows_while_it_is_spoken(
    model: ProcessModel, phrases: list[Samples], manner: dict[str, Setting]
) -> None:
    heard: list[Hypothesis] = []
    final = feed_all(model.begin(OPTIONS), phrases[0], heard)
    assert_read(final.text, phrases[0], manner)
    assert final.stable == len(final.text)
    assert all(each.stable == len(each.text) for each in heard)


def test_one_utterance_after_another_leaves_no_word_in_the_next(
    model: ProcessModel, phrases: list[Samples], manner: dict[str, Setting]
) -> None:
    for phrase in (*phrases, phrases[0]):
        assert_read(feed_all(model.begin(OPTIONS), phrase).text, phrase, manner)


def test_recordings_of_people_are_read(
    model: ProcessModel, shared_audio: "list[Recording]"
) -> None:
    pairs = [
        (item.transcript, feed_all(model.begin(OPTIONS), read_wav(item.path)).text)
        for item in shared_audio[:2]
    ]
    assert word_error_rate(pairs) < 0.1


def test_a_window_is_an_utterance_in_one_piece(
    model: ProcessModel, phrases: list[Samples], manner: dict[str, Setting]
) -> None:
    assert_read(model.decode(phrases[1], OPTIONS).text, phrases[1], manner)


def test_silence_is_no_text(model: ProcessModel) -> None:
    assert model.decode(silence(0.5), OPTIONS) == Hypothesis(text="")
    assert model.decode(silence(0.0), OPTIONS) == Hypothesis(text="")


def test_two_utterances_are_heard_at_a_time(
    manner: dict[str, Setting], phrases: list[Samples]
) -> None:
    model = loaded(**{**manner, "programs": 2})
    assert model.most_readers == model.abilities.decodes_at_once == 2
    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(lambda p: feed_all(model.begin(OPTIONS), p).text, phrases))
    model.close()
    for text, phrase in zip(texts, phrases, strict=True):
        assert_read(text, phrase, manner)


def test_lines_of_json_tell_what_is_final(phrases: list[Samples]) -> None:
    model = loaded("--json-lines", output="json_lines")
    reader, phrase = model.begin(OPTIONS), phrases[0]
    reader.feed(phrase[: 3 * SAMPLE_RATE], lambda: True)

    def has_words_to_come() -> bool:
        hypothesis = reader.feed(phrase[:0], lambda: True)
        return bool(hypothesis.text) and hypothesis.stable < len(hypothesis.text)

    wait_until(has_words_to_come, "a line that is not final")
    final = feed_all(reader, phrase[3 * SAMPLE_RATE :])
    model.close()
    assert final.text == text_alone(phrase, padding_ms=1500)
    assert final.stable == len(final.text)


def test_its_abilities_are_those_of_a_model_that_is_fed() -> None:
    model = loaded("--deaf", chunk_ms=250)
    assert checked(model.abilities) == model.abilities
    assert model.abilities.feed_s == 0.25
    assert model.most_readers == 1
    model.close()


# ── ends that are not those of an utterance ───────────────────────────────────────────────────


def test_who_closes_in_the_middle_leaves_no_word_in_the_next(
    model: ProcessModel, phrases: list[Samples], manner: dict[str, Setting]
) -> None:
    reader = model.begin(OPTIONS)
    reader.feed(phrases[0], keep_going)
    (program,) = model._programs._lent
    reader.close()
    reader.close()
    assert_read(feed_all(model.begin(OPTIONS), phrases[1]).text, phrases[1], manner)
    assert (program in model._programs._idle) == (manner["end"] == "pad")


def test_who_cancels_has_no_reader_any_more() -> None:
    model = loaded("--deaf")
    reader = model.begin(OPTIONS)
    with pytest.raises(DecodeCancelled):
        reader.feed(silence(1.0), lambda: False)
    with pytest.raises(ProviderError, match="has failed before"):
        reader.feed(silence(1.0), keep_going)
    with pytest.raises(ProviderError, match="has failed before"):
        reader.finish(keep_going)
    assert model.decode(silence(1.0), OPTIONS).text == ""
    model.close()


def test_one_that_dies_costs_its_own_utterance_alone() -> None:
    model = loaded("--deaf", "--die-after", "40000")
    with pytest.raises(ProviderError, match=r"exit code 4: \[out of cheese\]"):
        feed_all(model.begin(OPTIONS), silence(5.0))
    assert model.begin(OPTIONS).feed(silence(0.5), keep_going).text == ""
    model.close()


def test_one_that_stalls_does() -> None:
    model = loaded("--deaf", "--stall", "8192", stall_s=0.3)
    reader = model.begin(OPTIONS)
    with pytest.raises(ProviderError, match=r"has taken no audio for 0\.3 s"):
        reader.feed(silence(10.0), keep_going)
    model.close()


def test_a_flood_does() -> None:
    model = loaded("--deaf", "--flood", "4096")
    with pytest.raises(ProviderError, match="printed more than 65536 characters"):
        feed_all(model.begin(OPTIONS), silence(20.0))
    model.close()


@pytest.mark.parametrize(
    ("manner", "options", "problem"),
    [
        ("recycle", ("--linger",), r"has not ended within 0\.3 s"),
        ("recycle", ("--end-with", "9"), "ended with exit code 9"),
        ("pad", ("--stall", "8192"), r"has taken no audio for 0\.3 s"),
    ],
)
def test_a_program_that_does_not_finish_fails_the_utterance(
    manner: str, options: tuple[str, ...], problem: str
) -> None:
    model = loaded("--deaf", *options, **{**MANNERS[manner], "finish_timeout_s": 0.3})
    reader = model.begin(OPTIONS)
    reader.feed(silence(1.0), keep_going)
    running = [program.pid for program in model._programs._lent]
    with pytest.raises(ProviderError, match=problem):
        reader.finish(keep_going)
    reader.close()
    wait_until(lambda: not any(map(is_alive, running)), "the end of its program")
    model.close()


LATE = """
import sys, time
sys.stderr.write("ready\\n")
sys.stderr.flush()
while data := sys.stdin.buffer.read1(8000):
    time.sleep(0.5)
    print("late", flush=True)
"""


def test_what_is_printed_after_the_end_is_nobodys_and_is_told(
    capfd: pytest.CaptureFixture[str],
) -> None:
    told: dict[str, Setting] = {
        "command": shlex.join([sys.executable, "-c", LATE]),
        "ready_pattern": "ready",
        "end": "pad",
        "padding_ms": 0,
        "quiet_ms": 50,
        "spares": 0,
    }
    model = ProcessProvider().load("program", told)
    assert isinstance(model, ProcessModel)
    assert model.decode(silence(0.25), OPTIONS).text == ""
    (program,) = model._programs._idle
    wait_until(lambda: program.printed_bytes, "what comes late")
    reader = model.begin(OPTIONS)
    assert reader.feed(silence(0.25), keep_going).text == ""
    assert "4 bytes were printed between utterances" in capfd.readouterr().err
    wait_until(lambda: reader.feed(silence(0.0), keep_going).text == "late", "its own")
    model.close()


def test_progress_is_told_while_it_computes(phrases: list[Samples]) -> None:
    model = loaded(**MANNERS["recycle"])
    told_s: list[float] = []

    def tell() -> bool:
        told_s.append(time.monotonic())
        return True

    reader = model.begin(OPTIONS)
    reader.feed(phrases[1], tell)
    began_s = time.monotonic()
    reader.finish(tell)
    ended_s = time.monotonic()
    reader.close()
    model.close()
    during_s = [began_s, *(at_s for at_s in told_s if at_s > began_s), ended_s]
    assert max(b - a for a, b in pairwise(during_s)) < 1.0
    assert len(during_s) > 2


# ── the worker ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of stdin has to do")
def test_no_program_outlives_its_worker() -> None:
    """Not even one that neither reads nor prints, and so sees no pipe end."""

    async def scenario() -> None:
        command = shlex.join(["sh", "-c", "echo '[listening]' >&2; exec sleep 1000"])
        told = {**settings(spares=2), "command": command}
        make = unwarmed(load("asrd_process", "process", "program", **told))
        async with worker_process(make) as worker:
            process = psutil.Process(worker.pid)
            while len(running := process.children(recursive=True)) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            os.kill(worker.pid, signal.SIGKILL)
            killed_s = time.monotonic()
            while any(is_alive(child.pid) for child in running):
                assert time.monotonic() - killed_s < GONE_WITHIN_S
                await asyncio.sleep(0.01)

    run(scenario)


# ── the provider ──────────────────────────────────────────────────────────────────────────────


def test_without_a_command_it_says_what_to_set() -> None:
    for ask in (ProcessProvider().check_settings, lambda told: ProcessProvider().load("x", told)):
        with pytest.raises(ModelUnavailable, match=r"set 'command' in \[providers\.process"):
            ask({})


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("no-such-program --key hidden", "'no-such-program' in .*'command' is not here"),
        ("KEY=hidden program", "named first in .*'command' is not here.*by way of env"),
        ("program 'hidden", "'command' is not whole: No closing quotation"),
        ("program\0hidden", "'command' holds a NUL character"),
        ("", "set 'command'"),
        ("   ", "set 'command'"),
    ],
)
def test_a_command_that_cannot_be_run_is_told_when_the_daemon_starts(
    command: str, problem: str
) -> None:
    with pytest.raises(ProviderError, match=problem) as told:
        ProcessProvider().check_settings({"command": command})
    assert "hidden" not in str(told.value)


@pytest.mark.parametrize("name", ["ready_pattern", "strip_pattern"])
def test_a_pattern_that_is_none_is_named(name: str) -> None:
    with pytest.raises(ProviderError, match=f"'{name}' is no regular expression"):
        ProcessProvider().check_settings({"command": sys.executable, name: "(("})


def test_a_slip_of_the_pen_is_named() -> None:
    with pytest.raises(ProviderError, match="did you mean 'command'"):
        ProcessProvider().check_settings({"comand": "x"})
    with pytest.raises(ProviderError, match="'programs' must be a whole number from 1 to 64"):
        ProcessProvider().check_settings({"command": sys.executable, "programs": 0})


@pytest.mark.parametrize("model", ["../secret", "/etc/passwd", "-d", "a b", "", "a/b", "x" * 101])
def test_a_model_is_a_plain_name(model: str) -> None:
    provider = ProcessProvider()
    status = provider.status(model)
    assert not status.is_present
    assert "plain name" in status.problem
    with pytest.raises(ModelUnavailable, match="plain name"):
        provider.load(model, settings("--deaf"))


def test_the_model_takes_its_place_in_the_command() -> None:
    provider = ProcessProvider()
    assert provider.status("voxtral-mini.v1").is_present
    program = "import sys; sys.stderr.write(sys.argv[1]); sys.exit(5)"
    command = shlex.join([sys.executable, "-c", program, "models/{model}.bin"])
    with pytest.raises(ProviderError, match=r"exit code 5: models/voxtral-mini\.v1\.bin"):
        provider.load("voxtral-mini.v1", {"command": command})
    with pytest.raises(ModelUnavailable, match=r"no 'voxtral-mini': .* has no \{model\}"):
        provider.load("voxtral-mini", {"command": sys.executable})


def test_there_is_no_shell() -> None:
    command = f"{shlex.quote(sys.executable)} -c 'import sys; sys.exit(sys.argv[1])' '$HOME;`id`'"
    with pytest.raises(ProviderError, match=r"exit code 1: \$HOME;`id`"):
        ProcessProvider().load("program", {"command": command})


def test_memory_is_what_the_user_says_for_each_program() -> None:
    provider = ProcessProvider()
    told: dict[str, Setting] = {"memory_mb": 9000, "programs": 2, "spares": 1, "uses_gpu": True}
    assert provider.size_bytes("program", told) == 27_000_000_000
    assert provider.size_bytes("program", {}) == 0
    assert provider.wants_gpu(told)
    assert not provider.wants_gpu({})


def test_looking_imports_no_engine() -> None:
    """The core does it."""
    code = f"""
import sys
from asrd_process import ProcessProvider
ProcessProvider().status("program")
ProcessProvider().check_settings({{"command": {sys.executable!r}}})
print("numpy" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout == "False\n"


def test_it_lists_no_models_and_suggests_none() -> None:
    provider = ProcessProvider()
    assert list(provider.models()) == []
    assert provider.spread({"programs": 2}, 4) == {"programs": 2}
