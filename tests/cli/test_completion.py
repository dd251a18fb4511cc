"""Completion in real shells: their own machinery runs the script and asks the program."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asrd.cli.completion import PLACES, VARIABLE, Shell, prepare, script
from cli.conftest import Run


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """An environment in which a shell finds the program as `asrd`, and nothing of the user's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "asrd"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m asrd "$@"\n')
    program.chmod(0o755)
    keep = {key: os.environ[key] for key in ("PYTHONPATH", "LANG") if key in os.environ}
    home = tmp_path / "home"
    home.mkdir()
    return {**keep, "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(home), "TERM": "dumb"}


def run(shell: str, source: str, environment: dict[str, str]) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [path, *(["--norc"] if shell == "bash" else ["-f"] if shell == "zsh" else ["--no-config"])],
        input=source,
        capture_output=True,
        text=True,
        env=environment,
        cwd=environment["HOME"],
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


ASK_BASH = """
source <(asrd completion bash)
function=$(complete -p asrd); function=${function##*-F }; function=${function%% *}
ask() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    $function asrd "${!#}" "${@: -2:1}"
    echo "${COMPREPLY[*]}"
}
"""

CASES = [
    ("asrd tr", "transcribe"),
    ("asrd models l", "list load"),
    ("asrd service inst", "install"),
    ("asrd transcribe --form", "--format"),
    ("asrd transcribe --format ''", "text json jsonl srt vtt"),
    ("asrd transcribe --format = js", "json jsonl"),
    ("asrd transcribe --format =", "text json jsonl srt vtt"),
    ("asrd serve --loading e", "eager"),
    ("asrd transcribe -p whi", "whisper_cpp"),
    ("asrd transcribe --provider = ech", "echo"),
    ("asrd transcribe -m base-e", "base-en base-es"),
    ("asrd transcribe -p whisper_cpp -m medium-q", "medium-q5_0 medium-q8_0"),
    ("asrd models pull moonshine/tiny-j", "moonshine/tiny-ja"),
    ("asrd models load -p moonshine tiny-j", "tiny-ja"),
    ("asrd completion z", "zsh"),
    ("asrd transcribe ./a", ""),  # the shell's own: files
]


def test_bash_completes(programs: dict[str, str]) -> None:
    asked = "".join(f"ask {words}\n" for words, _ in CASES)
    answers = run("bash", ASK_BASH + asked, programs).split("\n")
    assert dict(zip(CASES, answers, strict=False)) == {case: case[1] for case in CASES}


def test_bash_falls_back_to_files(programs: dict[str, str]) -> None:
    shown = run("bash", "source <(asrd completion bash)\ncomplete -p asrd\n", programs)
    assert "-o default" in shown


ASK_ZSH = """
autoload -Uz compinit; compinit -u -d $HOME/dump
source <(asrd completion zsh)
_arguments() { print -rl -- "$@" }
_files() { print files }
ask() { words=("$@"); CURRENT=$#; ${_comps[asrd]} }
ask asrd tr
ask asrd transcribe ./a
"""


def test_zsh_completes(programs: dict[str, str]) -> None:
    answers = run("zsh", ASK_ZSH, programs).splitlines()
    assert answers == ['*: :(("transcribe":"Transcribe audio or video files."))', "files"]


ASK_FISH = """
asrd completion fish | source
complete --do-complete "asrd tr"
complete --do-complete "asrd transcribe --format js"
"""


def test_fish_completes(programs: dict[str, str]) -> None:
    answers = run("fish", ASK_FISH, programs).splitlines()
    assert answers == ["transcribe\tTranscribe audio or video files.", "json", "jsonl"]


@pytest.mark.parametrize("shell", Shell)
def test_the_script_says_where_it_belongs(shell: Shell) -> None:
    lines = script(shell).splitlines()
    assert lines[1] == f"# asrd completion {shell} > {PLACES[shell]}"
    assert (lines[0] == "#compdef asrd") is (shell is Shell.ZSH)


def test_another_shell_is_a_usage_error(asrd: Run) -> None:
    assert asrd("completion", "tcsh").code == 64
    assert asrd("completion").code == 64


def test_it_adds_no_options_to_the_help(asrd: Run) -> None:
    assert "completion" not in asrd("--help").out.partition("Commands:")[0]


@pytest.mark.parametrize(
    ("words", "current", "made", "at"),
    [
        (["asrd", "--format", "=", "j"], "3", ["asrd", "--format", "j"], "2"),
        (["asrd", "--format", "="], "2", ["asrd", "--format", "="], "2"),
        (["asrd", "a", "=", "b"], "3", ["asrd", "a", "=", "b"], "3"),
        (["asrd", "--a", "=", "x", "--b", "=", "y"], "6", ["asrd", "--a", "x", "--b", "y"], "4"),
        ([""], "9" * 30, [""], "9" * 30),
        (["asrd"], "x", ["asrd"], "0"),
    ],
)
def test_equals_signs_of_bash_are_joined(
    words: list[str], current: str, made: list[str], at: str
) -> None:
    environment = {
        VARIABLE: "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": current,
    }
    prepare(environment)
    assert environment["COMP_WORDS"].split("\n") == made
    assert environment["COMP_CWORD"] == at


@pytest.mark.parametrize(
    "words", ["asrd tr", "asrd transcribe -p whi", "asrd transcribe -m base-e"]
)
def test_an_answer_takes_less_than_twice_what_the_shortest_command_takes(words: str) -> None:
    """Processor time, the best of three: what else runs on the machine does not count."""
    asked = words.split()
    environment = {
        VARIABLE: "complete_bash",
        "COMP_WORDS": "\n".join(asked),
        "COMP_CWORD": str(len(asked) - 1),
    }

    def measure(*arguments: str, **more: str) -> float:
        argv = [sys.executable, "-m", "asrd", *arguments]
        process = subprocess.Popen(argv, env={**os.environ, **more}, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    shortest_s = min(measure("version") for _ in range(3))
    assert min(measure(**environment) for _ in range(3)) < 2 * shortest_s
