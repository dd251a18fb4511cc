"""`python -m asrd` and the `asrd` command."""

import gc
import sys

from asrd.exit_codes import Exit


def main() -> None:
    """Run the program and end the process with its exit code."""
    try:
        gc.disable()  # a tenth of a start's time, and imports make no garbage
        from asrd.cli.app import main as run

        gc.enable()
        code = run()
    except KeyboardInterrupt:  # in the midst of the imports, or at the very end
        code = int(Exit.INTERRUPTED)
    sys.exit(code)


if __name__ == "__main__":
    main()
