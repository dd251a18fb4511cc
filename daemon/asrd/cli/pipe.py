"""`asrd pipe`: raw PCM in, lines out."""

import os
import stat
import sys
from enum import StrEnum
from typing import Annotated, Literal

import typer

from asrd.cli.exits import CommandError, Exit
from asrd.cli.options import (
    EndpointingOption,
    LanguageOption,
    ModelOption,
    ProviderOption,
    SettingsOption,
    SocketOption,
    WordsOption,
)


class PipeFormat(StrEnum):
    """What can be written while the end is not known."""

    TEXT = "text"
    JSONL = "jsonl"


class Delivery(StrEnum):
    """What happens when audio comes quicker than it is recognised."""

    LOSSLESS = "lossless"
    LIVE = "live"


def pipe(
    rate: Annotated[int, typer.Option("--rate", "-r", min=8000, max=96000, help="In Hz.")] = 16000,
    channels: Annotated[
        int, typer.Option("--channels", "-c", min=1, max=8, help="Mixed down to one.")
    ] = 1,
    encoding: Annotated[
        str, typer.Option("--encoding", "-e", metavar="s16le|f32le", help="Of one sample.")
    ] = "s16le",
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where it comes from, which sets its priority: mic, system, or any name. "
            "[default: mic, or file where stdin is one]",
        ),
    ] = None,
    delivery: Annotated[
        Delivery,
        typer.Option(help="lossless: the pipe waits. live: old audio is dropped, and told."),
    ] = Delivery.LOSSLESS,
    provider: ProviderOption = None,
    model: ModelOption = None,
    language: LanguageOption = None,
    format_: Annotated[
        PipeFormat, typer.Option("--format", "-f", help="What to write.")
    ] = PipeFormat.TEXT,
    partials: Annotated[
        bool,
        typer.Option(
            "--partials", help="Show text while it may still change (jsonl, or a terminal)."
        ),
    ] = False,
    words: WordsOption = False,
    endpointing_ms: EndpointingOption = None,
    socket: SocketOption = None,
    option: SettingsOption = None,
) -> None:
    """Transcribe raw PCM from stdin, a line for each finished utterance.

    For example: arecord -q -t raw -f S16_LE -r 16000 | asrd pipe

    Ctrl-C stops listening and finishes what was said; a second one ends at once.
    """
    import asyncio

    from asrd.cli.piping import pipe_stdin
    from asrd.cli.reach import wanted_daemon

    is_file = _is_stdin_a_file()
    code = asyncio.run(
        pipe_stdin(
            {
                "source": source or ("file" if is_file else "mic"),
                "delivery": delivery.value,
                "provider": provider,
                "model": model,
                "language": language,
                "encoding": _read_encoding(encoding),
                "sample_rate": rate,
                "channels": channels,
                "partials": partials,
                "words": words,
                "endpointing_ms": endpointing_ms,
            },
            wanted_daemon(socket, provider, model, option or []),
            is_json=format_ is PipeFormat.JSONL,
        )
    )
    raise typer.Exit(code)


def _is_stdin_a_file() -> bool:
    """Whether stdin is a regular file. Raises where it can be no audio at all."""
    if sys.stdin is None:
        raise CommandError("stdin is closed", Exit.NO_INPUT, "pipe raw audio into it")
    if os.isatty(0):
        raise typer.BadParameter(
            "it is a terminal; pipe audio into it, as in `arecord -q -t raw -f S16_LE -r 16000 | "
            "asrd pipe`",
            param_hint="stdin",
        )
    return stat.S_ISREG(os.fstat(0).st_mode)


def _read_encoding(text: str) -> Literal["pcm_s16le", "pcm_f32le"]:
    """Also as ffmpeg (`pcm_s16le`) and arecord (`S16_LE`) spell it."""
    match text.lower().removeprefix("pcm_").replace("_", ""):
        case "s16le":
            return "pcm_s16le"
        case "f32le" | "floatle":
            return "pcm_f32le"
        case _:
            raise typer.BadParameter(f"{text!r} is none of s16le, f32le", param_hint="--encoding")
