"""Which asrd runs, and whether a service of the machine could run it."""

import sys
from pathlib import Path

import pytest

from asrd.cli.managers.program import needed, running_program, why_unreachable


def script(folder: Path, name: str = "asrd") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_script_that_was_called_is_meant_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = script(tmp_path / "bin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bin/asrd", "service"])
    assert running_program() == (str(path),)


def test_a_link_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installers of programs move such links along at an update."""
    link = tmp_path / "asrd"
    link.symlink_to(script(tmp_path / "v1"))
    monkeypatch.setattr(sys, "argv", [str(link)])
    assert running_program() == (str(link),)


@pytest.mark.parametrize("called", ["/x/asrd/__main__.py", "/nowhere/asrd", "pytest", ""])
def test_a_module_is_run_by_this_interpreter(monkeypatch: pytest.MonkeyPatch, called: str) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert running_program() == (sys.executable, "-m", "asrd")


def test_more_than_the_program_is_needed() -> None:
    """A virtual environment under /opt is no use where its interpreter is somebody's own."""
    paths = needed("/opt/asrd/bin/asrd")
    assert paths[0] == Path("/opt/asrd/bin/asrd")
    assert Path(sys.executable).resolve() in paths
    assert any(path.name == "asrd" and (path / "__init__.py").is_file() for path in paths)


@pytest.mark.parametrize("is_other_user", [False, True])
def test_what_the_unit_hides_is_out_of_reach(is_other_user: bool) -> None:
    problem = why_unreachable(
        [Path("/usr"), Path("/h/me/asrd")], [Path("/x"), Path("/h")], is_other_user=is_other_user
    )
    assert problem == "it does not see /h, where /h/me/asrd is"


def test_what_others_may_not_enter_is_out_of_reach_of_another_user(tmp_path: Path) -> None:
    path = script(tmp_path / "opt")
    for part in path.parents:
        if part.is_relative_to(tmp_path.parents[1]):
            part.chmod(0o755)

    def problem(needed_path: Path = path, *, is_other_user: bool = True) -> str:
        return why_unreachable([needed_path], [], is_other_user=is_other_user)

    assert problem() == ""
    path.parent.chmod(0o700)
    assert f"may not enter {path.parent}" in problem()
    assert problem(is_other_user=False) == ""
    path.parent.chmod(0o755)
    path.chmod(0o700)
    assert f"may not enter {path}" in problem()
    assert "may not enter" in problem(tmp_path / "ghost")
