"""What users choose among. Apart from `config`, so that `asrd --help` imports nothing heavy."""

from enum import StrEnum

Setting = str | int | float | bool
"""The value of a provider's own setting."""


class Loading(StrEnum):
    """When a provider's models are loaded."""

    EAGER = "eager"
    """At the start; the daemon counts as started once they are ready."""
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
