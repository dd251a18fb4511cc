"""Becomes a program that the kernel ends with its parent: `python tied.py PARENT_PID PROGRAM ...`.

A worker may be killed at any time, and what it started must not outlive it: a model that nobody
can reach holds gigabytes. On Linux the kernel is asked; the request outlasts the `exec`. Elsewhere
the program sees the end of its stdin. A function run between fork and exec could do the same, but
not safely in a process that has threads.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1
CANNOT_EXECUTE = 126


def main() -> None:
    """Tie this process to its parent and become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(CANNOT_EXECUTE)
    # Python ignores these; a program is used to finding them as they are by default.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(program, sys.argv[2:])  # noqa: S606 - there is to be no shell
    except OSError as error:
        sys.stderr.write(f"{os.path.basename(program)} cannot be run: {error.strerror}\n")  # noqa: PTH119
        sys.stderr.flush()
        os._exit(CANNOT_EXECUTE)


if __name__ == "__main__":
    main()
