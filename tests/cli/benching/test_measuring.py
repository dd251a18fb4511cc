"""What `asrd bench` reads, and how far it says that it is."""

from pathlib import Path

import pytest

from asrd.cli.benching.measuring import Course, read_recording, rest_of
from asrd.cli.media import Media
from asrd.cli.progress import Progress
from cli.conftest import write_media


@pytest.mark.parametrize(
    ("max_s", "audio_s", "is_cut"), [(1, 1.0, True), (2, 2.0, True), (3, 2.5, False)]
)
def test_a_long_recording_is_cut_to_the_sample(
    tmp_path: Path, max_s: int, audio_s: float, is_cut: bool
) -> None:
    recording = read_recording(Media(write_media(tmp_path / "a.wav", audio_s=2.5)), max_s)
    assert (recording.audio_s, recording.is_cut) == (audio_s, is_cut)


def test_a_recording_of_just_that_length_is_not_cut(tmp_path: Path) -> None:
    recording = read_recording(Media(write_media(tmp_path / "a.wav", audio_s=2)), 2)
    assert (recording.audio_s, recording.is_cut) == (2.0, False)


def test_how_long_the_rest_takes_is_said_once_it_can_be() -> None:
    assert rest_of(1.0, 0.0) == ""
    assert rest_of(10.0, 0.25) == "30 s left"
    assert rest_of(10.0, 0.01) == "16 min left"
    assert rest_of(10.0, 1.0) == "0 s left"


def test_the_bar_knows_of_work_that_comes_later() -> None:
    shown: list[tuple[str, float]] = []

    class Bar(Progress):
        def portion(self, name: str, share: float, rest: str) -> None:
            shown.append((name, share))

    course = Course(Bar())
    course.add(10.0)
    course.begin("1 stream")
    course.advance(5.0)
    course.add(10.0)
    course.begin("the control")
    course.advance(100.0)
    assert shown == [
        ("1 stream", 0.0),
        ("1 stream", 0.5),
        ("the control", 0.25),
        ("the control", 1),
    ]
