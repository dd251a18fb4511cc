"""What a command says on stderr of a connection that breaks and comes back.

One line for each: that it broke, and when the next attempt comes; that it is back. That it is lost
for good is the error that the command ends with.
"""

from collections.abc import Callable

from asrd.client import Client, ClientState, StateChange


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
