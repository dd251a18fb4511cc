"""What users choose among, and what is chosen for them.

Apart from `config`, so that `asrd --help` imports nothing heavy.
"""

from enum import StrEnum
from typing import Literal

Setting = str | int | float | bool
"""The value of a provider's own setting."""

SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4}
"""Of one channel, by the encoding that a stream is opened with."""

LIVE_SOURCES = {"mic": 1, "system": 2}
"""Sources that are heard as they happen, and their priority; any other is a file or the like."""


Delivery = Literal["live", "lossless"]
"""Live audio is dropped when it cannot be held; of lossless audio the sender is told to wait."""


def default_delivery(source: str) -> Delivery:
    """How a stream of that source is delivered that asks for nothing."""
    return "live" if source in LIVE_SOURCES else "lossless"


class Loading(StrEnum):
    """When a provider's models are loaded."""

    EAGER = "eager"
    """At the start; the daemon ends when one of a `required` provider does not come up."""
    BACKGROUND = "background"
    """At the start too, but nothing waits for it, except streams that need the model."""
    LAZY = "lazy"
    """When the first stream asks for one."""


class WarmUp(StrEnum):
    """What a model has to read, once it is loaded, before it counts as ready."""

    NONE = "none"
    MINIMAL = "minimal"
    """Half a second."""
    STANDARD = "standard"
    """0.5, 1 and 4 s."""
    FULL = "full"
    """Eight lengths from 0.1 to 30 s."""


class LogLevel(StrEnum):
    """How much the log tells."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How the log is written."""

    AUTO = "auto"
    """To the journal where stderr is the journal, for people on a terminal, as JSON elsewhere."""
    CONSOLE = "console"
    """For people."""
    JSON = "json"
    """One object a line."""
    JOURNAL = "journal"
    """To journald, each value a field of its own."""
