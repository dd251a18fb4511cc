"""`asrd version`."""

from asrd.cli.printing import say
from asrd.version import __version__


def version() -> None:
    """Print the version."""
    say(f"asrd {__version__}")
