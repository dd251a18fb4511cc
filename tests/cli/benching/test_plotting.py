"""The picture."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asrd.cli.benching.plotting import _draw_speeds, check_plotting, plot
from asrd.cli.benching.report import Outcome
from asrd.cli.exits import CommandError, Exit
from cli.benching.test_report import HALF, WHOLE
from support.measurements import measurement

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("outcome", [WHOLE, HALF])
def test_a_png_is_written(outcome: Outcome, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    check_plotting(path)
    plot(outcome, path)
    assert path.read_bytes().startswith(PNG)
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("a.jpg", Exit.USAGE, "does not end in .png"),
        ("folder.png", Exit.USAGE, "is a directory"),
        ("nowhere/a.png", Exit.IO, "there is no folder"),
        ("file/a.png", Exit.IO, "there is no folder"),
    ],
)
def test_a_place_that_cannot_be_is_told(tmp_path: Path, name: str, code: Exit, words: str) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match=words) as caught:
        check_plotting(tmp_path / name)
    assert caught.value.code is code


def a_long_name(folder: Path) -> Path:
    return folder / f"{'a' * 300}.png"


def a_link_below_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    (folder / "a.png").symlink_to(folder / "file" / "a.png")
    return folder / "a.png"


def a_fifo(folder: Path) -> Path:
    os.mkfifo(folder / "a.png")
    return folder / "a.png"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [a_long_name, a_link_below_a_file, a_fifo])
def test_a_file_that_cannot_be_written_is_told(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """By nobody, root included."""
    path = make(tmp_path)
    before = set(tmp_path.iterdir())
    with pytest.raises(CommandError, match=r"cannot write .*: choose another place") as caught:
        check_plotting(path)
    assert caught.value.code is Exit.IO
    assert set(tmp_path.iterdir()) == before


def test_to_see_whether_a_picture_can_be_written_changes_nothing(tmp_path: Path) -> None:
    check_plotting(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    check_plotting(tmp_path / "link.png")
    assert [each.name for each in tmp_path.iterdir()] == ["link.png"]
    (tmp_path / "a.png").write_text("a picture of before")
    check_plotting(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_text() == "a picture of before"


def test_what_to_install_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CommandError, match=r"pip install 'asrd\[plot\]'") as caught:
        check_plotting(tmp_path / "a.png")
    assert caught.value.code is Exit.UNAVAILABLE


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot write"):
        plot(WHOLE, tmp_path / "gone" / "a.png")


def test_a_speed_stands_above_its_error_bar() -> None:
    """Else it would cover the bar's upper end."""
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

    measured = (measurement(1, 6.0, 4.0, 8.0), measurement(2, 6.0))
    axes = Figure().subplots()
    _draw_speeds(axes, Outcome(subject=WHOLE.subject, measured=measured))
    labels = [each for each in axes.texts if isinstance(each, Annotation)]
    assert [each.get_text() for each in labels] == ["10.0x", "20.0x"]
    assert [each.xy[1] for each in labels] == pytest.approx([15.0, 20.0])
