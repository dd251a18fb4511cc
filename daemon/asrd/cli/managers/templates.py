"""The service files that asrd ships, and the one line in them that is changed.

Of launchd's also those that name the user's home and socket.

They are data: in an installed package beside its code, in a source tree where packagers find them.
"""

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from xml.sax.saxutils import escape

import asrd
from asrd.cli.exits import CommandError, Exit

_SOURCE_FOLDERS = {"systemd": "systemd", "launchd": "contrib/launchd"}
"""Where a source tree has them."""

_REFUSED = "\"'\\$"
"""What systemd takes in no program's path, however it is quoted; `$` is a variable in arguments."""

_SOCKET = "/tmp/asrd-501/asrd.sock"  # noqa: S108 - what stands in the agent for one's own

_EXEC_START = re.compile(r"^ExecStart=\S+", re.MULTILINE)
_PROGRAM_ARGUMENTS = re.compile(
    r"(<key>ProgramArguments</key>\s*<array>)(\s*)<string>[^<]*</string>"
)


def read_template(manager: str, name: str) -> str:
    """A service file as it is shipped. Raises CommandError where the installation lacks it."""
    packed = files("asrd") / "units" / manager / name
    source = Path(asrd.__file__).parents[2] / _SOURCE_FOLDERS[manager] / name
    for place in (packed, source):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise CommandError(
        f"this installation lacks the file {name} of {manager}", Exit.INTERNAL, "install asrd again"
    )


def with_exec_start(template: str, program: Sequence[str]) -> str:
    """A unit whose ExecStart runs that program. Raises CommandError where systemd cannot."""
    words = " ".join(_systemd_word(word) for word in program)
    return _replaced(_EXEC_START, template, f"ExecStart={words}")


def with_program_arguments(template: str, program: Sequence[str]) -> str:
    """A launchd agent that runs that program."""
    found = _PROGRAM_ARGUMENTS.search(template)
    if found is None:
        raise _unfit()
    strings = "".join(f"{found[2]}<string>{escape(_word(word))}</string>" for word in program)
    return _replaced(_PROGRAM_ARGUMENTS, template, found[1] + strings)


def for_user(template: str, *, home: Path, socket: Path) -> str:
    """A launchd agent of that user: launchd expands neither `~` nor variables."""
    text = template.replace("<string>/Users/YOU/", f"<string>{escape(_word(str(home)))}/")
    shipped, own = (f"<string>{path}</string>" for path in (_SOCKET, escape(_word(str(socket)))))
    return text.replace(shipped, own)


def _replaced(pattern: re.Pattern[str], template: str, replacement: str) -> str:
    text, count = pattern.subn(lambda _: replacement, template)
    if count != 1:
        raise _unfit()
    return text


def _unfit() -> CommandError:
    return CommandError(
        "the service file that is shipped names its program in a way of its own",
        Exit.INTERNAL,
        "install asrd again",
    )


def _systemd_word(word: str) -> str:
    """One word of a command line, quoted as systemd.service(5) has it."""
    word = _word(word)
    refused = sorted(set(word) & set(_REFUSED))
    if refused:
        raise CommandError(
            f"systemd cannot start {word!r}",
            Exit.USAGE,
            f"install asrd where the path has no {' '.join(refused)}",
        )
    word = word.replace("%", "%%")
    return word if re.fullmatch(r"[\w%+,./:=@-]+", word, re.ASCII) else f'"{word}"'


def _word(word: str) -> str:
    """The same. Raises CommandError for what no file of a service can hold."""
    if not word.isprintable():  # line ends, controls, and bytes that are no text
        raise CommandError(
            f"no service can start {word!r}", Exit.USAGE, "install asrd under a printable path"
        )
    return word
