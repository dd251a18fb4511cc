"""`asrd transcribe`: files to text."""

from pathlib import Path
from typing import Annotated

import typer

from asrd.cli.exits import CommandError, Exit
from asrd.cli.options import (
    EndpointingOption,
    Format,
    LanguageOption,
    ModelOption,
    ProviderOption,
    SettingsOption,
    SocketOption,
    Task,
    WordsOption,
)

TEXT_ENDPOINTING_MS = 800
"""Longer than a live stream's: nobody waits for the end of an utterance in a file, and engines
read longer utterances better."""

SUBTITLE_ENDPOINTING_MS = 500
"""A subtitle is one utterance, and must fit on a screen."""


def transcribe(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE...", help="Audio or video files.", show_default=False),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Transcribe the recording that the provider ships.")
    ] = False,
    format_: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = Format.TEXT,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-O", metavar="PATH", help="File to write, or a directory: a file for each."
        ),
    ] = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    language: LanguageOption = None,
    task: Annotated[
        Task, typer.Option(help="Write what is said, or its English translation.")
    ] = Task.TRANSCRIBE,
    words: WordsOption = False,
    endpointing_ms: EndpointingOption = None,
    socket: SocketOption = None,
    option: SettingsOption = None,
) -> None:
    """Transcribe audio or video files.

    Uses the running daemon where one answers, else a daemon of its own, which needs no set-up.
    """
    import asyncio

    from asrd.cli.reach import wanted_daemon
    from asrd.cli.transcription import transcribe_files

    if endpointing_ms is None:
        is_subtitle = format_ in (Format.SRT, Format.VTT)
        endpointing_ms = SUBTITLE_ENDPOINTING_MS if is_subtitle else TEXT_ENDPOINTING_MS
    if sample == bool(files):
        raise typer.BadParameter("name files, or --sample and no file", param_hint="FILE...")
    wanted = wanted_daemon(socket, provider, model, option or [])
    code = asyncio.run(
        transcribe_files(
            files or [_sample_of(provider)],
            {
                "source": "file",
                "delivery": "lossless",
                "provider": provider,
                "model": model,
                "language": language,
                "task": task.value,
                "partials": False,
                "words": words,
                "endpointing_ms": endpointing_ms,
            },
            wanted,
            format_=format_,
            target=output,
        )
    )
    raise typer.Exit(code)


def _sample_of(provider: str | None) -> Path:
    """The recording that the engine ships; where the daemon is to choose one, the default's."""
    from asrd.cli.configured import configured_provider
    from asrd.config import Config
    from asrd.providers.catalogue import AUTO
    from asrd.providers.registry import discover

    engine = provider or configured_provider()
    if engine == AUTO:
        engine = Config().provider
    recording = discover().get(engine).provider.sample()
    if recording is None:
        raise CommandError(f"{engine} ships no recording", Exit.NO_INPUT, "name a file of your own")
    return recording
