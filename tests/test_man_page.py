"""The manual page: the same as the commands' own help, and nothing that roff stumbles over."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from asrd.cli.app import app
from asrd.cli.exits import Exit
from asrd.cli.manual import DESCRIPTION, EXIT_CODES, page

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "contrib" / "man" / "asrd.1"
REMAKE = "make it anew: asrd man > contrib/man/asrd.1"


def test_the_page_that_is_shipped_is_that_of_these_commands() -> None:
    assert PAGE.read_text(encoding="utf-8") == page() + "\n", REMAKE


@pytest.fixture(scope="module")
def rendered() -> str:
    """As a terminal shows it, without bold and hyphenation; fails at any warning."""
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        [groff, "-man", "-Tutf8", "-ww", "-rHY=0", "-P-c"],
        input=page().encode(),
        capture_output=True,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return re.sub(".\b", "", done.stdout.decode())


def test_all_that_is_said_is_shown(rendered: str) -> None:
    """No request of roff swallows a line of ours."""
    words = "".join(rendered.split())
    for paragraph in DESCRIPTION.split("\n\n"):
        assert "".join(paragraph.split()) in words
    for code, text in EXIT_CODES.items():
        assert f"{int(code)}{''.join(text.split())}" in words
    for name in ("transcribe", "models pull", "service install"):
        assert re.search(rf"^   asrd {name}$", rendered, re.MULTILINE)


def test_man_reads_it_without_a_warning(tmp_path: Path) -> None:
    man = shutil.which("man")
    if man is None:
        pytest.skip("man is not installed")
    path = tmp_path / "asrd.1"
    path.write_text(page() + "\n", encoding="utf-8")
    done = subprocess.run(
        [man, "--warnings", "-l", path],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANPAGER": "cat"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "asrd transcribe" in done.stdout


def test_every_exit_code_is_told() -> None:
    assert set(EXIT_CODES) == set(Exit)


def test_every_variable_that_is_looked_at_is_told() -> None:
    sources = (ROOT / "daemon" / "asrd").rglob("*.py")
    found = {
        name
        for source in sources
        for name in re.findall(r"\"((?:ASRD|XDG)_[A-Z]+(?:_[A-Z]+)*)\"", source.read_text())
    }
    assert "XDG_RUNTIME_DIR" in found
    assert {name for name in found if name not in page()} == set()


def test_every_command_and_option_is_there() -> None:
    text = page().replace("\\-", "-")
    root = typer.main.get_command(app)
    names = [name for name, child in root.commands.items() if not child.hidden]  # type: ignore[attr-defined]
    assert len(names) > 10
    for name in names:
        assert f".SS asrd {name}" in text
    for name, child in root.commands.items():  # type: ignore[attr-defined]
        for parameter in child.params:
            if parameter.param_type_name == "option":
                assert all(option in text for option in parameter.opts), (name, parameter.opts)
