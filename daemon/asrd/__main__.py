"""`python -m asrd` and the `asrd` command."""

import gc
import sys


def main() -> None:
    """Run the program and end the process with its exit code."""
    gc.disable()  # a tenth of a start's time, and imports make no garbage
    from asrd.cli.app import main as run

    gc.enable()
    sys.exit(run())


if __name__ == "__main__":
    main()
