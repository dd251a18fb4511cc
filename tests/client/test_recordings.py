"""Recordings on disk: what they hold, and which belong together."""

from pathlib import Path
from typing import Any

import pytest

from asrd.client.recordings import (
    MissingRecording,
    NotARecording,
    RecordingReader,
    by_session,
    survey,
)
from asrd.framing import HEADER
from asrd.wire.recording import FORGOTTEN, packed


def frames(*messages: dict[str, Any]) -> bytes:
    payloads = [packed(message) for message in messages]
    return b"".join(HEADER.pack(len(payload)) + payload for payload in payloads)


def hello(at_s: float, session: str | None = "s1", resume: str | None = None) -> dict[str, Any]:
    return {"type": "hello", "resume": resume, "session": session, "at": at_s}


def write(path: Path, *messages: dict[str, Any], rest: bytes = b"") -> Path:
    path.write_bytes(frames(*messages) + rest)
    return path


def test_a_survey_tells_whose_it_is_and_how_long(tmp_path: Path) -> None:
    opening = {"type": "open", "stream": 1, "at": 12.0}
    path = write(tmp_path / "a", hello(10.0), opening, opening, {"type": "ping", "at": 15.5})
    found = survey(path)
    assert (found.session, found.resumes, found.streams) == ("s1", False, 2)
    assert (found.first_at_s, found.duration_s, found.rest_bytes) == (10.0, 5.5, 0)


def test_frames_without_times_are_a_recording_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a", {"type": "hello"}, {"type": "ping"})
    found = survey(path)
    assert (found.session, found.first_at_s, found.duration_s) == (str(path), None, 0.0)


@pytest.mark.parametrize("rest", [b"\0", frames({"type": "ping"})[:-1], b"\xff" * 9])
def test_what_is_left_behind_the_last_frame_is_counted(tmp_path: Path, rest: bytes) -> None:
    path = write(tmp_path / "a", hello(1.0), rest=rest)
    reader = RecordingReader(path)
    assert len(list(reader)) == 1
    assert reader.rest == rest
    assert survey(path).rest_bytes == len(rest)


@pytest.mark.parametrize("data", [b"", b"# a text file\n" * 99, HEADER.pack(2) + b"\xc1\xc1"])
def test_a_file_without_a_sound_frame_is_no_recording(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(NotARecording, match="is no recording"):
        survey(path)


def test_a_long_file_is_read_in_pieces(tmp_path: Path) -> None:
    chunk = {"type": "audio", "stream": 1, "data": bytes(60_000)}
    path = write(tmp_path / "a", hello(1.0), *[chunk] * 30)
    assert sum(len(frame.payload) for frame in RecordingReader(path)) == (
        path.stat().st_size - 31 * HEADER.size
    )


def test_files_of_one_session_are_put_in_the_order_of_their_times(tmp_path: Path) -> None:
    first = survey(write(tmp_path / "z", hello(10.0)))
    other = survey(write(tmp_path / "o", hello(15.0, "s2")))
    second = survey(write(tmp_path / "a", hello(20.0, resume="s1")))
    third = survey(write(tmp_path / "b", hello(30.0, resume="s1")))
    assert by_session([third, second, other, first]) == [[first, second, third], [other]]


def test_a_session_whose_token_was_forgotten_begins_anew(tmp_path: Path) -> None:
    found = survey(write(tmp_path / "a", hello(10.0, "s2", resume=FORGOTTEN)))
    assert by_session([found]) == [[found]]


def test_the_file_that_a_session_began_in_is_missed(tmp_path: Path) -> None:
    second = survey(write(tmp_path / "a", hello(20.0, resume="s1")))
    with pytest.raises(MissingRecording, match="session s1, which began in another file"):
        by_session([second])


def test_two_files_that_begin_one_session_are_copies(tmp_path: Path) -> None:
    copies = [survey(write(tmp_path / name, hello(20.0))) for name in "ab"]
    with pytest.raises(NotARecording, match="both begin s1"):
        by_session(copies)


def test_times_that_leap_by_days_are_not_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path / "far", hello(1.0), {"type": "ping", "at": 1e12})
    with pytest.raises(NotARecording, match="days late"):
        survey(path)
