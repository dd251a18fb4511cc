"""Options that several commands share, and how their values are read."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from asrd.choices import Setting
from asrd.cli import suggestions
from asrd.secrets import is_secret_name


class Task(StrEnum):
    """What is made of speech."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


class Format(StrEnum):
    """How a transcript is written."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"
    SRT = "srt"
    VTT = "vtt"


ProviderOption = Annotated[
    str | None,
    typer.Option(
        "--provider",
        "-p",
        metavar="NAME",
        help="Engine to use; see `asrd providers`.",
        autocompletion=suggestions.providers,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Model of that provider.",
        autocompletion=suggestions.models_of_provider,
    ),
]
LanguageOption = Annotated[
    str | None,
    typer.Option("--language", "-l", metavar="CODE", help="Spoken language, such as en."),
]
EndpointingOption = Annotated[
    int | None,
    typer.Option(
        "--endpointing-ms",
        min=100,
        max=5000,
        help="Silence that ends an utterance, in ms. [default: the daemon's, 500; for text of "
        "files 800]",
    ),
]
SocketOption = Annotated[
    Path | None, typer.Option("--socket", metavar="PATH", help="The daemon's socket.")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="[PROVIDER.]KEY=VALUE",
        help="A provider's own setting; repeatable.",
    ),
]
WordsOption = Annotated[
    bool,
    typer.Option(
        "--words", help="With the time of each word, where the model has them; not in text."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON instead; nothing on an error.")
]
StateJsonOption = Annotated[
    bool, typer.Option("--json", help="Print a JSON object instead, on an error too.")
]


def read_settings(pairs: Sequence[str], provider: str) -> dict[str, dict[str, Setting]]:
    """The `--option` values as `{provider: {key: value}}`.

    A key without a provider before it belongs to `provider`, the one in use. Raises a usage error.
    """
    settings: dict[str, dict[str, Setting]] = {}
    for pair in pairs:
        name, is_assigned, value = pair.partition("=")
        owner, _, key = name.rpartition(".")
        if not is_assigned or not key:
            raise typer.BadParameter(
                f"{pair!r} is not of the form PROVIDER.KEY=VALUE", param_hint="--option"
            )
        if is_secret_name(key):
            raise typer.BadParameter(
                f"{name!r} looks like a secret, and everybody on this machine can read a command "
                "line: name it in a configuration, as { file = ... } or { credential = ... }",
                param_hint="--option",
            )
        settings.setdefault(owner or provider, {})[key] = _read_value(value)
    return settings


def write_settings(settings: Mapping[str, Mapping[str, Setting]]) -> list[str]:
    """What `read_settings` reads back as the same."""
    return [
        f"--option={provider}.{key}={_write_value(value)}"
        for provider, values in settings.items()
        for key, value in values.items()
    ]


def _read_value(text: str) -> Setting:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _write_value(value: Setting) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
