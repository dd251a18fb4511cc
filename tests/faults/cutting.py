"""A relay in front of a daemon's socket that cuts every connection somewhere.

Where is drawn for each connection before it begins: after so many bytes in one of the two
directions. Small numbers are as likely as large ones, order of magnitude by order of magnitude, so
that greetings are cut as well as the middle of an hour, and every byte of a frame may be the last.
"""

import random
from dataclasses import dataclass, field

from support.relay import Cut, Relay

MOST_UP_BYTES = 2**20
MOST_DOWN_BYTES = 2**12
"""The daemon says far less than it hears."""

MOST_HALF_S = 0.05


@dataclass(kw_only=True)
class CuttingRelay(Relay):
    """Cuts until there were `cuts`; then it only forwards.

    `is_halving`: the daemon hears the end of the input before each cut, at once or a little
    earlier. Then it finishes the open utterance where the audio stood.
    """

    cuts: int
    dice: random.Random
    is_halving: bool = False
    cut_after: list[tuple[str, int]] = field(default_factory=list)
    """Each cut so far: the direction, and the bytes that had passed in it."""

    def draw(self) -> Cut | None:
        """After how many bytes up, or down, the next connection is cut."""
        if len(self.cut_after) >= self.cuts:
            return None
        is_up = self.dice.random() < 0.6
        most = MOST_UP_BYTES if is_up else MOST_DOWN_BYTES
        place = int(most ** self.dice.random())
        half_s = self.dice.choice((0.0, self.dice.uniform(0, MOST_HALF_S)))
        return Cut("up" if is_up else "down", place, half_s if self.is_halving else None)

    def was_cut(self, cut: Cut) -> None:
        """Note a cut."""
        self.cut_after.append((cut.way, cut.after_bytes))
