"""`asrd completion`: what makes a shell complete the command line of asrd.

The work is typer's: the shell starts `asrd` with _ASRD_COMPLETE in its environment, and typer
answers from the commands themselves.
"""

import os
from collections.abc import MutableMapping
from enum import StrEnum
from typing import Annotated

import typer

VARIABLE = "_ASRD_COMPLETE"


class Shell(StrEnum):
    """Shells that can complete it."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


PLACES = {
    Shell.BASH: "~/.local/share/bash-completion/completions/asrd",
    Shell.ZSH: "a file _asrd in a folder of your $fpath",
    Shell.FISH: "~/.config/fish/completions/asrd.fish",
}


def completion(
    shell: Annotated[
        Shell, typer.Argument(metavar="bash|zsh|fish", help="The shell that is to complete it.")
    ],
) -> None:
    """Print the script that has a shell complete commands, options and their values.

    The script says where to put it. For the shell that runs: source <(asrd completion bash)
    """
    from asrd.cli.printing import say

    say(script(shell))


def script(shell: Shell) -> str:
    """The script; its comment stands second, for zsh looks at the first line."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    text = get_completion_script(prog_name="asrd", complete_var=VARIABLE, shell=shell.value)
    first, *rest = text.splitlines()
    return "\n".join([first, f"# asrd completion {shell} > {PLACES[shell]}", *rest])


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make typer ready where a shell asks; anywhere else it costs nothing."""
    if VARIABLE not in environment:
        return
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()
    if environment[VARIABLE] == "complete_bash":
        _join_equals(environment)


def _join_equals(environment: MutableMapping[str, str]) -> None:
    """Have `--format=js` understood: bash makes three words of it, of which `=` means nothing."""
    words = environment.get("COMP_WORDS", "").split("\n")
    text = environment.get("COMP_CWORD", "")
    current = int(text) if text.isascii() and text.isdigit() else 0
    superfluous = {
        place
        for place in range(1, min(current, len(words)))
        if words[place] == "=" and words[place - 1].startswith("--")
    }
    environment["COMP_WORDS"] = "\n".join(
        word for place, word in enumerate(words) if place not in superfluous
    )
    environment["COMP_CWORD"] = str(current - len(superfluous))
