"""A runner that notes what it is asked to run, and answers from a script."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from asrd.cli.managers.base import Done


@dataclass(slots=True)
class FakeRunner:
    """`answers` maps the beginning of a command line to what it leaves behind; others succeed."""

    answers: dict[str, Done] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    code: int = 0

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Done:
        assert timeout_s > 0
        line = " ".join(argv)
        self.ran.append(line)
        for beginning, done in self.answers.items():
            if line.startswith(beginning):
                return done
        return Done(code=0)

    def show(self, argv: Sequence[str]) -> int:
        self.shown.append(" ".join(argv))
        return self.code
