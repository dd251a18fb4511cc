"""The picture."""

import os
import sys
from pathlib import Path

import pytest

from asrd.cli.bench_report import Outcome
from asrd.cli.exits import CommandError, Exit
from asrd.cli.plotting import check_plotting, plot
from cli.test_bench_report import HALF, WHOLE

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
    ],
)
def test_a_place_that_cannot_be_is_told(tmp_path: Path, name: str, code: Exit, words: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(CommandError, match=words) as caught:
        check_plotting(tmp_path / name)
    assert caught.value.code is code


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CommandError, match="may not be written"):
        check_plotting(tmp_path / "a.png")


def test_what_to_install_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CommandError, match=r"pip install 'asrd\[plot\]'") as caught:
        check_plotting(tmp_path / "a.png")
    assert caught.value.code is Exit.UNAVAILABLE


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot write"):
        plot(WHOLE, tmp_path / "gone" / "a.png")
