"""`asrd listen`: the machine's own inputs in, lines out."""

import os
from typing import Annotated

import typer
from typer.core import TyperCommand

from asrd.cli.options import (
    EndpointingOption,
    LanguageOption,
    ModelOption,
    ProviderOption,
    SettingsOption,
    SocketOption,
    WordsOption,
)
from asrd.cli.pipe import PipeFormat

SOURCES = ("--mic", "--system")
"""Options that may stand without a value: typer has none such."""


def with_values(arguments: list[str]) -> list[str]:
    """The same with an empty value behind each source that has none."""
    following = [*arguments, "-"][1:]
    return [
        f"{argument}=" if argument in SOURCES and next_one.startswith("-") else argument
        for argument, next_one in zip(arguments, following, strict=True)
    ]


class ListenCommand(TyperCommand):
    """The command as typer makes it, but for sources without a value."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """See click."""
        return super().parse_args(ctx, with_values(args))


def listen(
    mic: Annotated[
        str | None,
        typer.Option(
            metavar="[DEVICE]", help="Hear a microphone: the default one, or by number or name."
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            metavar="[DEVICE]", help="Hear what the machine plays, alone or beside --mic."
        ),
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="List the inputs and exit.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead, for --list-devices.")
    ] = False,
    provider: ProviderOption = None,
    model: ModelOption = None,
    language: LanguageOption = None,
    format_: Annotated[
        PipeFormat, typer.Option("--format", "-f", help="What to write.")
    ] = PipeFormat.TEXT,
    partials: Annotated[
        bool | None,
        typer.Option(
            "--partials/--no-partials",
            help="Show text while it may still change (jsonl, or a terminal). "
            "[default: on a terminal]",
        ),
    ] = None,
    words: WordsOption = False,
    endpointing_ms: EndpointingOption = None,
    socket: SocketOption = None,
    option: SettingsOption = None,
) -> None:
    """Transcribe what is said, a line for each finished utterance.

    Needs `pip install 'asrd[listen]'`. Ctrl-C stops listening and finishes what was said; a second
    one ends at once.
    """
    if list_devices:
        _list_devices(is_json=json)
        return
    if json:
        raise typer.BadParameter("for text as JSON add `--format jsonl`", param_hint="--json")

    import asyncio

    from asrd.cli.listening import Ear
    from asrd.cli.listening import listen as work
    from asrd.cli.reach import wanted_daemon

    wishes = {"mic": mic, "system": system}
    ears = [Ear(source=source, wish=wish) for source, wish in wishes.items() if wish is not None]
    code = asyncio.run(
        work(
            ears or [Ear(source="mic", wish="")],
            {
                "provider": provider,
                "model": model,
                "language": language,
                "partials": os.isatty(1) if partials is None else partials,
                "words": words,
                "endpointing_ms": endpointing_ms,
            },
            wanted_daemon(socket, provider, model, option or []),
            is_json=format_ is PipeFormat.JSONL,
        )
    )
    raise typer.Exit(code)


def _list_devices(*, is_json: bool) -> None:
    from asrd.cli.capture import inputs
    from asrd.cli.devices import as_fields, listing
    from asrd.cli.printing import say

    if is_json:
        from asrd.cli.transcripts import to_json

        say(to_json([as_fields(device) for device in inputs()]))
        return
    for line in listing(inputs()):
        say(line)
