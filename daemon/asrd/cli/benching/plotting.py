"""The picture of `asrd bench`: the only place that knows matplotlib."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asrd.cli.benching.measurements import Measurement, as_times
from asrd.cli.benching.report import Outcome, title
from asrd.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPEED_COLOUR, MEMORY_COLOUR, SWEET_COLOUR = "#1f5fa8", "#8a9bb0", "#c2571a"
INCHES = (7.5, 6.0)
DOTS_PER_INCH = 150
TITLE_CHARACTERS = 88
"""So many fit above the picture, on each of two lines."""


def check_plotting(path: Path) -> None:
    """See whether a picture could be drawn and put there, before there is anything to draw.

    Raises:
        CommandError: matplotlib is missing, or the file cannot be written there.
    """
    if path.suffix.lower() != ".png":
        raise CommandError(f"{path} does not end in .png", Exit.USAGE, "name it so")
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir() raises for a name that is too long
        raise CommandError(f"{path} is a directory", Exit.USAGE, "name a file in it")
    if not path.parent.is_dir():
        raise CommandError(f"there is no folder {path.parent}", Exit.IO, "make it first")
    try:
        _try_to_write(path)
    except OSError as error:
        raise _unwritten(path, error) from error
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise CommandError(
            f"cannot draw without the package matplotlib ({error})",
            Exit.UNAVAILABLE,
            "pip install 'asrd[plot]'",
        ) from error


def _try_to_write(path: Path) -> None:
    """Open it as if to write. What is there stays as it is, and nothing stays that was not there.

    Raises:
        OSError: it cannot be written.
    """
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO without a reader is an error
    try:
        os.close(os.open(path, flags))
    except FileNotFoundError:
        target = path.resolve()  # of a link that leads to nothing yet
        os.close(os.open(target, flags | os.O_CREAT | os.O_EXCL, 0o666))
        target.unlink()


def _unwritten(path: Path, error: OSError) -> CommandError:
    return CommandError(f"cannot write {path}: {error.strerror}", Exit.IO, "choose another place")


def plot(outcome: Outcome, path: Path) -> None:
    """Draw speed and memory against concurrency. Raises CommandError where it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)  # draws into memory: there need be no screen
    speeds, memories = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    lines = textwrap.wrap(title(outcome.subject), TITLE_CHARACTERS, max_lines=2, placeholder=" …")
    figure.suptitle("\n".join(lines), fontsize=9, parse_math=False)
    _draw_speeds(speeds, outcome)
    _draw_memories(memories, outcome)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise _unwritten(path, error) from error


def _draw_speeds(axes: "Axes", outcome: Outcome) -> None:
    measured, control, advice = outcome.measured, outcome.control, outcome.advice
    places = range(len(measured))
    heights = [each.speed for each in measured]
    below, above = _errors(measured)
    axes.errorbar(
        places,
        heights,
        yerr=[below, above] if any(below + above) else None,
        color=SPEED_COLOUR,
        marker="o",
        capsize=3,
        label="a slot for each stream",
    )
    for place, height, error in zip(places, heights, above, strict=True):
        axes.annotate(
            as_times(height),
            (place, height + error),  # above the bar, which it would cover
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    if advice is not None and advice.sweet is not None:
        place = measured.index(advice.sweet)
        axes.axvline(place, color=SWEET_COLOUR, linestyle=":", zorder=0, label="sweet spot")
        if control is not None:
            axes.plot(
                [place],
                [control.speed],
                color=SWEET_COLOUR,
                marker="s",
                linestyle="none",
                label=f"the same streams, one slot ({as_times(control.speed)})",
            )
    axes.set_ylabel("speed (audio seconds per second)")
    top = max(each.speed * each.seconds / min(each.runs_s) for each in outcome.every)
    axes.set_ylim(0, top * 1.25)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9, frameon=False)


def _errors(measured: Sequence[Measurement]) -> tuple[list[float], list[float]]:
    """How far the slowest and the quickest run lie below and above the median."""
    below = [each.speed * (1 - each.seconds / max(each.runs_s)) for each in measured]
    above = [each.speed * (each.seconds / min(each.runs_s) - 1) for each in measured]
    return below, above


def _draw_memories(axes: "Axes", outcome: Outcome) -> None:
    measured = outcome.measured
    bars = axes.bar(
        range(len(measured)),
        [each.memory_bytes / 1e6 for each in measured],
        color=MEMORY_COLOUR,
        width=0.5,
    )
    axes.bar_label(bars, fmt="%.0f", fontsize=9, padding=2)
    axes.margins(y=0.2)
    axes.set_ylabel(f"peak memory (MB, {outcome.subject.memory_kind.upper()})")
    axes.set_xlabel("streams at once, with as many decode slots")
    axes.set_xticks(range(len(measured)), [str(each.setup.streams) for each in measured])
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
