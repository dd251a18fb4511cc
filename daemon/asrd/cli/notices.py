"""What a command says on stderr beside its results.

Of a connection one line for each: that it broke, and when the next attempt comes; that it is back.
That it is lost for good is the error that the command ends with.
"""

from collections.abc import Callable

from asrd.client import Client, ClientState, StateChange
from asrd.wire.messages import Segment


def tell_breaks(client: Client, tell: Callable[[str], None]) -> None:
    """Tell of each break from now on."""

    is_broken = False

    def changed(change: StateChange) -> None:
        nonlocal is_broken
        was_broken, is_broken = is_broken, change.state is ClientState.RECONNECTING
        if change.state is ClientState.CONNECTED:
            tell("the connection to the daemon is back")
        elif is_broken and not was_broken:
            tell(f"{change.reason}: connecting again in {change.wait_s:.1f} s")

    client.on_state(changed)


class MissingWords:
    """Says, once, that the times of words were asked for and the model gives none."""

    def __init__(self, tell: Callable[[str], None], *, are_wanted: bool) -> None:
        self._tell = tell
        self._is_owed = are_wanted

    def look_at(self, segment: Segment) -> None:
        """A segment has come."""
        if self._is_owed and segment.text and not segment.words:
            self._is_owed = False
            self._tell(f"{segment.provider} {segment.model} gives no times of words")
