"""Programs of the service manager, run for real."""

import subprocess
from collections.abc import Sequence

from asrd.cli.exits import CommandError, Exit, OutputClosed
from asrd.cli.managers.base import Done

TIMEOUT_S = 60.0
"""A manager answers within milliseconds; a daemon that is stopped may drain for 20 s."""

MISSING, LATE = 127, 124
"""As shells and timeout(1) have it."""


class ProcessRunner:
    """Runs them as child processes, from argument lists."""

    def run(self, argv: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> Done:
        """See `Runner`."""
        try:
            done = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError:
            return Done(code=MISSING, err=f"{argv[0]} is not installed")
        except OSError as error:
            return Done(code=MISSING, err=f"{argv[0]} cannot be run: {error.strerror}")
        except subprocess.TimeoutExpired:
            return Done(code=LATE, err=f"it took longer than {timeout_s:.0f} s")
        out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        return Done(code=done.returncode, out=out, err=err)

    def show(self, argv: Sequence[str]) -> int:
        """See `Runner`. Whoever reads on and on is ended by Ctrl-C, which it gets itself."""
        try:
            code = subprocess.call(list(argv), stdin=subprocess.DEVNULL)
        except OSError as error:
            what = "is not installed" if isinstance(error, FileNotFoundError) else error.strerror
            raise CommandError(
                f"{argv[0]}: {what}",
                Exit.UNAVAILABLE,
                "look where your system keeps the logs of its services",
            ) from error
        if code == -13:  # SIGPIPE: `| head -1`
            raise OutputClosed
        return code
