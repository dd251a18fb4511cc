"""`asrd bench`: how many streams at once this machine reads best."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asrd.cli.exits import CommandError, Exit, tell
from asrd.cli.options import (
    LanguageOption,
    ModelOption,
    ProviderOption,
    SettingsOption,
)
from asrd.cli.printing import say
from asrd.errors import AsrdError

if TYPE_CHECKING:
    from asrd.cli.benching.report import Outcome

MOST_STREAMS = 64
"""At once, which is what a session may open."""

MOST_STEPS = 16


def bench(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Audio or video of speech.", show_default=False),
    ] = None,
    sample: Annotated[
        bool,
        typer.Option("--sample", help="The recording that Moonshine ships; so it is without FILE."),
    ] = False,
    concurrency: Annotated[
        str, typer.Option("--concurrency", "-c", metavar="N,N,...", help="Streams at once.")
    ] = "1,2,4,6,8",
    seconds: Annotated[
        int, typer.Option(min=1, max=3600, help="Of the recording that are used, at most.")
    ] = 60,
    repeat: Annotated[
        int, typer.Option(min=1, max=100, help="Runs of each step, at least; the median counts.")
    ] = 1,
    provider: ProviderOption = None,
    model: ModelOption = None,
    language: LanguageOption = None,
    option: SettingsOption = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON instead; on an error what was measured before it."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw it; needs `pip install 'asrd[plot]'`."),
    ] = None,
) -> None:
    """Measure how many streams at once this machine reads best, and with how many decode slots.

    Each step starts a daemon of its own with as many slots as streams and reads the recording in
    all of them at once. What to configure is said at the end. Ctrl-C ends it and shows what was
    measured so far.
    """
    import asyncio

    from asrd.cli import progress
    from asrd.cli.benching.gauge import memory_kind
    from asrd.cli.benching.measurements import sweep
    from asrd.cli.benching.measuring import Bench, read_recording
    from asrd.cli.benching.report import Subject
    from asrd.cli.media import Media
    from asrd.cli.reach import wanted_daemon
    from asrd.cli.transcribe import TEXT_ENDPOINTING_MS
    from asrd.providers.inspection import usable_cores
    from asrd.providers.registry import discover

    if sample and file is not None:
        raise typer.BadParameter("name a file, or --sample and no file", param_hint="FILE")
    counts = read_concurrency(concurrency)
    if provider is not None:
        discover().get(provider)  # raises UnknownProvider, as a daemon that runs would say it
    if plot is not None:
        from asrd.cli.benching.plotting import check_plotting

        check_plotting(plot)
    wanted = wanted_daemon(None, provider, model, option or [])
    with progress.waiting("reading the recording"):
        recording = read_recording(Media(file or _sample()), seconds)
    asyncio.run(_tell_of_a_daemon())
    subject = Subject(
        file=recording.name,
        audio_s=recording.audio_s,
        is_cut=recording.is_cut,
        cores=usable_cores(),
        memory_kind=memory_kind(),
        asked_provider=provider,
        asked_model=model,
        asked_settings=wanted.settings,
    )
    trouble: AsrdError | KeyboardInterrupt | None = None
    with progress.shown(is_stdout_used=False) as bar:  # it is used when the bar has gone
        run = Bench(
            recording,
            subject,
            wanted,
            {
                "delivery": "lossless",
                "provider": provider,
                "model": model,
                "language": language,
                "partials": False,
                "endpointing_ms": TEXT_ENDPOINTING_MS,
            },
            repeat=repeat,
            bar=bar,
        )
        try:
            asyncio.run(run.run(sweep(counts)))
        except (AsrdError, KeyboardInterrupt) as error:
            trouble = error
    _show(run.outcome, is_json=json)  # half of it is worth having, too
    if trouble is not None:
        raise trouble
    if plot is not None:
        from asrd.cli.benching.plotting import plot as draw

        draw(run.outcome, plot)


def read_concurrency(text: str) -> list[int]:
    """`1,2,4` in ascending order, each once. Raises a usage error."""
    try:
        counts = sorted({int(each) for each in text.split(",")})
    except ValueError:
        counts = []
    if not counts or counts[0] < 1 or counts[-1] > MOST_STREAMS or len(counts) > MOST_STEPS:
        raise typer.BadParameter(
            f"{text!r} is no list such as 1,2,4 of at most {MOST_STEPS} numbers from 1 to "
            f"{MOST_STREAMS}",
            param_hint="--concurrency",
        )
    return counts


def _sample() -> Path:
    from asrd.providers.registry import UnknownProvider, discover

    try:
        recording = discover().get("moonshine").provider.sample()
    except UnknownProvider:
        recording = None
    if recording is None:
        raise CommandError(
            "the recording that Moonshine ships is not here", Exit.NO_INPUT, "name a file"
        )
    return recording


async def _tell_of_a_daemon() -> None:
    """A daemon that runs is left alone, and in the way when it works."""
    from asrd.cli.reach import QUICKLY_S
    from asrd.client.raw import answers
    from asrd.paths import default_socket_path

    if await answers(default_socket_path(), QUICKLY_S):
        tell("a daemon is running: what it does meanwhile spoils the figures")


def _show(outcome: "Outcome", *, is_json: bool) -> None:
    from asrd.cli.benching.report import as_json, as_text

    if is_json:
        from asrd.cli.transcripts import to_json

        say(to_json(as_json(outcome)))
    elif outcome.every:
        say(as_text(outcome))
