"""`asrd man`: the manual page, made from what `--help` says."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from asrd.cli.exits import Exit
from asrd.cli.printing import say
from asrd.version import __version__

if TYPE_CHECKING:
    import typer

DESCRIPTION = """\
asrd recognises speech. A daemon keeps the models warm and serves many streams of audio at once;
the commands use the daemon that runs, or start one of their own for as long as they need it.

What can be configured, and how the layers of a configuration lie over each other, is said in
CONFIGURATION.md; what the daemon speaks on its socket, in PROTOCOL.md."""

EXIT_CODES = {
    Exit.OK: "Done.",
    Exit.USAGE: "The command line makes no sense.",
    Exit.DATA: "The input is there and is not what it should be, such as a file without audio.",
    Exit.NO_INPUT: "The input is missing or cannot be read.",
    Exit.UNAVAILABLE: "No daemon answers, or the provider cannot be used.",
    Exit.INTERNAL: "A mistake in asrd or in an engine.",
    Exit.CANNOT_CREATE: "A recording cannot be written there.",
    Exit.IO: "The output cannot be written.",
    Exit.BUSY: "The daemon is busy or being stopped: try again later.",
    Exit.NOT_PERMITTED: "The user may not do that.",
    Exit.CONFIG: "A setting makes no sense.",
    Exit.INTERRUPTED: "Ended by Ctrl-C.",
}

ENVIRONMENT = {
    "ASRD_SECTION__KEY": "A setting of the daemon, such as ASRD_LIMITS__MAX_SESSIONS=500; wins "
    "over the configuration files.",
    "ASRD_DEBUG": "With 1, errors come with a traceback, and a daemon of one's own logs all.",
    "XDG_RUNTIME_DIR": "The daemon's socket is asrd/asrd.sock in it.",
    "XDG_CONFIG_HOME": "The user's configuration is asrd/config.toml in it; ~/.config where unset.",
    "XDG_CACHE_HOME": "Models are kept in folders of it; ~/.cache where unset.",
    "CREDENTIALS_DIRECTORY": "Where systemd puts the secrets that a configuration names.",
    "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES": "Sockets that systemd has opened for the daemon.",
    "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID": "Where and how often systemd is told how the "
    "daemon is.",
}

FILES = {
    "/etc/asrd/config.toml": "The machine's configuration.",
    "~/.config/asrd/config.toml": "The user's configuration, over the machine's.",
    "/run/asrd/asrd.sock": "The socket of root, and of the system service.",
    "$XDG_RUNTIME_DIR/asrd/asrd.sock": "The socket of everybody else; without that folder "
    "/tmp/asrd-UID/asrd.sock.",
    "~/.config/systemd/user/asrd.service, ~/.config/systemd/user/asrd.socket": "What `asrd "
    "service install` writes for a user.",
    "/etc/systemd/system/asrd.service, /etc/systemd/system/asrd.socket": "What it writes for the "
    "machine.",
    "~/Library/LaunchAgents/org.asrd.asrd.plist": "What it writes on macOS.",
}

_GLYPHS = {
    "\\": r"\e",
    "-": r"\-",
    "`": r"\(ga",
    "'": r"\(aq",
    "~": r"\(ti",
    "^": r"\(ha",
}
"""Characters that roff would obey or make something finer of, and their names in it."""

SEE_ALSO = ("systemctl(1)", "journalctl(1)", "arecord(1)", "ffmpeg(1)")


def man() -> None:
    """Print the manual page, to be read with: asrd man | man -l -"""
    say(page())


def page() -> str:
    """The manual page, in the man macros of roff."""
    import typer

    from asrd.cli import app

    root = typer.main.get_command(app.app)
    context = typer.Context(root, info_name="asrd", **root.context_settings)
    summary = (root.help or "").strip().rstrip(".")
    return "\n".join(
        [
            f'.TH ASRD 1 "" "asrd {__version__}" "User Commands"',
            ".SH NAME",
            f"asrd \\- {_text(summary[0].lower() + summary[1:])}",
            ".SH SYNOPSIS",
            *_synopsis(root, context),
            ".SH DESCRIPTION",
            *_paragraphs(DESCRIPTION),
            ".SH OPTIONS",
            *_parameters(root, context),
            ".SH COMMANDS",
            *(line for node in _below(root, context) for line in _command(*node)),
            ".SH EXIT STATUS",
            *_entries({str(int(code)): text for code, text in EXIT_CODES.items()}),
            ".SH ENVIRONMENT",
            *_entries(ENVIRONMENT),
            ".SH FILES",
            *_entries(FILES),
            ".SH SEE ALSO",
            _text(", ".join(SEE_ALSO)),
        ]
    )


Node = Any
"""A command of click, whichever copy of click typer has inside."""


def _below(command: Node, context: "typer.Context") -> Iterator[tuple[Node, "typer.Context"]]:
    """All commands below one that are no groups."""
    import typer

    for name, child in getattr(command, "commands", {}).items():
        own = typer.Context(child, info_name=name, parent=context)
        if getattr(child, "commands", None):
            yield from _below(child, own)
        elif not child.hidden:
            yield child, own


def _command(command: Node, context: "typer.Context") -> Iterator[str]:
    yield f".SS {_text(context.command_path)}"
    yield from _synopsis(command, context)
    yield from (".PP", *_paragraphs(command.help or ""))
    yield from _parameters(command, context)


def _synopsis(command: Node, context: "typer.Context") -> Iterator[str]:
    pieces = ["[OPTION...]"]
    for each in command.params:
        if each.param_type_name == "argument":
            name = _metavar(each)
            is_marked = each.required or name.startswith("[")
            pieces.append(name if is_marked else f"[{name}]")
    if getattr(command, "commands", None):
        pieces.append("COMMAND [ARGUMENT...]")
    yield f"\\fB{_text(context.command_path)}\\fR {_text(' '.join(pieces))}"


def _parameters(command: Node, context: "typer.Context") -> Iterator[str]:
    """Arguments and options. Put together here, for typer's own form changes with its versions."""
    yield from _entries(
        {
            _title(each, context): _about(each)
            for each in command.get_params(context)
            if not each.hidden
        }
    )


def _title(parameter: Any, context: "typer.Context") -> str:
    if parameter.param_type_name == "argument":
        return _metavar(parameter)
    names = ", ".join(sorted(parameter.opts, key=len))
    others = "".join(f"/{name}" for name in parameter.secondary_opts)
    return names + others + ("" if parameter.is_flag else f" {_value(parameter, context)}")


def _value(parameter: Any, context: "typer.Context") -> str:
    """What stands for an option's value: as it says, its choices, or its kind."""
    if parameter.metavar:
        return str(parameter.metavar)
    shown = str(parameter.get_help_record(context)[0]).rpartition(", ")[2].partition(" ")[2]
    kind = shown.strip("<>[]")
    if kind.lower().startswith(("int", "float")):
        return "N"
    return kind if "|" in kind else kind.upper()


def _about(parameter: Any) -> str:
    """What an option is for, its default, and its range where that has both ends."""
    text = parameter.help or ""
    default = parameter.default
    if parameter.show_default and not isinstance(default, bool) and default not in (None, [], ()):
        text += f" [default: {default}]"
    ranged = parameter if hasattr(parameter, "min") else getattr(parameter, "type", None)
    least, most = (getattr(ranged, name, None) for name in ("min", "max"))
    return text if least is None or most is None else f"{text} [{least} to {most}]"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _entries(texts: dict[str, str]) -> Iterator[str]:
    for title, text in texts.items():
        yield from (".TP", f"\\fB{_text(title)}\\fR", _text(" ".join(text.split())))


def _paragraphs(text: str) -> Iterator[str]:
    for place, paragraph in enumerate(text.split("\n\n")):
        if place:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _text(text: str) -> str:
    """Text that roff shows as it is. A period at the start of a line would be a request."""
    shown = "".join(_GLYPHS.get(character, character) for character in text)
    return f"\\&{shown}" if shown.startswith(".") else shown
