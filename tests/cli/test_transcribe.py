"""`asrd transcribe` against a daemon that does as it is told."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from asrd.wire.messages import Audio, Close, Hello, Open, WordTime
from cli.conftest import Run, command, write_media
from support.fake_daemon import HANG_UP, FakeDaemon, Reply, closed, refusal, segment, welcome


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_media(tmp_path / "speech.wav", audio_s=2)


def test_text_goes_to_stdout(asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path) -> None:
    outcome = asrd("transcribe", "--socket", socket, "--language", "en", "--words", speech)
    assert (outcome.code, outcome.out, outcome.err) == (0, "hello there\n", "")
    opened = daemon.heard[1]
    assert opened == Open(
        stream=1,
        source="file",
        delivery="lossless",
        language="en",
        partials=False,
        words=True,
        endpointing_ms=800,
    )
    assert len(daemon.audio[1]) == 2 * 2 * 16000


def test_words_that_the_model_has_not_are_told_of_once(
    asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path
) -> None:
    outcome = asrd("transcribe", "--socket", socket, "--words", "-f", "jsonl", speech, speech)
    assert outcome.code == 0
    assert [json.loads(line)["text"] for line in outcome.out.splitlines()] == ["hello there"] * 2
    assert outcome.error == "fake none gives no times of words"


def test_words_stand_in_json(asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path) -> None:
    word = WordTime(word="hello", start=0.5, end=0.75, probability=0.5)
    daemon.rules[Close] = lambda _: [segment(words=[word]), closed()]
    outcome = asrd("transcribe", "--socket", socket, "--words", "-f", "json", speech)
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["segments"][0]["words"] == [
        {"word": "hello", "start": 0.5, "end": 0.75, "probability": 0.5}
    ]


def test_more_audio_than_the_credit_is_sent_as_it_is_raised(
    asrd: Run, daemon: FakeDaemon, socket: Path, tmp_path: Path
) -> None:
    daemon.credit_samples = 8000
    path = write_media(tmp_path / "long.wav", audio_s=5)
    assert asrd("transcribe", "--socket", socket, path).code == 0
    assert len(daemon.audio[1]) == 2 * 5 * 16000
    assert max(len(heard.data) for heard in daemon.heard if isinstance(heard, Audio)) <= 16000


def test_several_files_come_in_order_and_a_bad_one_stops_no_other(
    asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path, tmp_path: Path
) -> None:
    daemon.rules[Close] = lambda message: [
        segment(message.stream, text=f"stream {message.stream}"),
        closed(message.stream),
    ]
    (tmp_path / "empty.wav").touch()
    outcome = asrd(
        "transcribe",
        "--socket",
        socket,
        tmp_path / "empty.wav",
        speech,
        tmp_path / "no.wav",
        speech,
    )
    assert outcome.out == "stream 1\nstream 2\n"
    assert outcome.code == 65  # the first failure
    first, second = outcome.err.splitlines()
    assert first.startswith("asrd: ")
    assert "is empty" in first
    assert "there is no file" in second


def test_several_files_as_json_are_a_list(
    asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path, tmp_path: Path
) -> None:
    outcome = asrd("transcribe", "--socket", socket, "-f", "json", speech, tmp_path / "no.wav")
    good, bad = json.loads(outcome.out)
    assert (good["file"], good["text"]) == (str(speech), "hello there")
    assert "there is no file" in bad["error"]
    assert outcome.code == 66


def test_one_file_as_json_is_an_object(
    asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path
) -> None:
    outcome = asrd("transcribe", "--socket", socket, "-f", "json", speech)
    document = json.loads(outcome.out)
    assert document["duration"] == 2
    assert document["segments"][0]["text"] == "hello there"


def test_the_output_is_a_file_or_a_file_for_each(
    asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path, tmp_path: Path
) -> None:
    target, folder = tmp_path / "out.srt", tmp_path / "folder"
    folder.mkdir()
    other = write_media(tmp_path / "other.wav", audio_s=1)
    base = ("transcribe", "--socket", socket, "--format", "srt", "--output")
    assert asrd(*base, target, speech).out == ""
    assert target.read_text() == "1\n00:00:00,500 --> 00:00:01,500\nhello there\n\n"
    assert asrd(*base, folder, speech, other).code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["other.srt", "speech.srt"]
    assert (folder / "other.srt").read_text() == target.read_text()


def test_a_mistyped_input_leaves_an_older_output_alone(
    asrd: Run, daemon: FakeDaemon, socket: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.txt"
    target.write_text("precious")
    assert asrd("transcribe", "--socket", socket, "-O", target, tmp_path / "no.wav").code == 66
    assert target.read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-O", "speech.wav", "speech.wav"], "overwrite"),
        (["-f", "srt", "speech.wav", "speech.wav"], "one subtitle file"),
        (["-O", ".", "speech.wav", "./speech.wav"], "to one name"),
    ],
)
def test_outputs_that_make_no_sense(
    asrd: Run, speech: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(speech.parent)
    before = speech.read_bytes()
    outcome = asrd("transcribe", *arguments)
    assert outcome.code == 64
    assert words in outcome.error
    assert speech.read_bytes() == before


def test_an_output_that_cannot_be_written(
    asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path
) -> None:
    outcome = asrd("transcribe", "--socket", socket, "-O", "/nowhere/out.txt", speech)
    assert outcome.code == 74
    assert "cannot write /nowhere/out.txt" in outcome.error


def test_no_daemon_behind_a_named_socket(asrd: Run, socket: Path, speech: Path) -> None:
    outcome = asrd("transcribe", "--socket", socket, speech)
    assert outcome.code == 69
    assert f"start one with `asrd serve --socket {socket}`" in outcome.error


def test_without_audio_no_daemon_is_needed(asrd: Run, socket: Path, tmp_path: Path) -> None:
    """What is wrong with the files is told at once, before anything is started for them."""
    outcome = asrd("transcribe", "--socket", socket, tmp_path / "no.wav")
    assert outcome.code == 66


@pytest.mark.parametrize(
    ("code", "exit_code"), [("busy", 75), ("unknown_provider", 64), ("provider_unavailable", 69)]
)
def test_a_refused_stream(
    asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path, code: str, exit_code: int
) -> None:
    daemon.rules[Open] = lambda message: [refusal(code, "the reason", stream=message.stream)]
    outcome = asrd("transcribe", "--socket", socket, speech, speech)
    assert outcome.code == exit_code
    assert outcome.error.startswith("the reason")


def test_text_that_was_lost_is_an_error_of_its_file(
    asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path
) -> None:
    def fail_once(message: Close) -> list[object]:
        del daemon.rules[Close]
        return [refusal("provider_failed", "it crashed", stream=1), *daemon.usual(message)]

    daemon.rules[Close] = fail_once  # type: ignore[assignment]
    outcome = asrd("transcribe", "--socket", socket, speech, speech)
    assert outcome.out == "hello there\nhello there\n"
    assert outcome.code == 70
    assert outcome.error == f"{speech}: it crashed: see the daemon's log"


def test_a_daemon_that_ends_the_stream_early(
    asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path
) -> None:
    daemon.rules[Close] = lambda _: [closed(reason="idle", offset=16000)]
    outcome = asrd("transcribe", "--socket", socket, speech)
    assert outcome.code == 69
    assert "ended the stream at 1 s (idle)" in outcome.error


def test_a_broken_connection(asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path) -> None:
    daemon.rules[Close] = lambda _: daemon.once("breaks", [HANG_UP], [segment(), closed()])
    outcome = asrd("transcribe", "--socket", socket, speech)
    assert (outcome.code, outcome.out) == (0, "hello there\n")
    broken, back = outcome.err.splitlines()
    assert broken.startswith("asrd: the connection to the daemon broke: connecting again in ")
    assert back == "asrd: the connection to the daemon is back"


def test_a_connection_that_is_lost_for_good(
    asrd: Run, daemon: FakeDaemon, socket: Path, speech: Path
) -> None:
    refused: Reply = [refusal("unauthorized", "who are you", is_fatal=True), HANG_UP]
    daemon.rules[Hello] = lambda _: daemon.once("greets", [welcome()], refused)
    daemon.rules[Audio] = lambda _: [HANG_UP]
    outcome = asrd("transcribe", "--socket", socket, speech)
    assert outcome.code == 77
    assert outcome.err.splitlines()[1].startswith("asrd: who are you (one attempt to connect")


def test_ctrl_c_ends_it_without_a_word(daemon: FakeDaemon, socket: Path, speech: Path) -> None:
    def interrupt(_: Close) -> list[object]:
        process.send_signal(signal.SIGINT)
        return []

    daemon.rules[Close] = interrupt  # type: ignore[assignment]
    process = subprocess.Popen(
        command("transcribe", "--socket", socket, speech),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130
