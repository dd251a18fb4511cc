"""`asrd serve` for a daemon that somebody started for himself: it ends when its stdin does.

`python -m asrd.cli.tied --socket PATH ...`. Whoever holds the other end of stdin need not do
anything for it: however he goes, the end of the pipe ends the daemon.
"""

import os
import signal
import sys
import threading

from asrd.cli.app import main


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    # The first would wait for streams that nobody listens to any more. Not twice the same: that
    # would be one while it is pending.
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, name="tie", daemon=True).start()
    sys.exit(main(["serve", *sys.argv[1:]]))
