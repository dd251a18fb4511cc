"""`python -m asrd` and the `asrd` command."""

import sys


def main() -> None:
    """Run the program and end the process with its exit code."""
    from asrd.cli.app import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
