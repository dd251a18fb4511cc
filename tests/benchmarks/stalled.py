"""What readers that read nothing cost: the daemon's memory, and everybody else's time.

    python tests/benchmarks/stalled.py [--readers 200] [--megabytes 160]

Each asks for far more than it takes, is told `slow_consumer` where that can still be written,
comes back, and does it again, until so many megabytes were produced for all of them together. A
client that reads pings all the while, from a process of its own. Beside it stands a control: its
times while as many readers ask for as much and read it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import row
from support.daemon import running_daemon
from support.stalling import read_along, stall

MAX_GROWTH_BYTES = 52_000_000
MAX_LEFT_BYTES = 10_000_000
RECOVERY_S = 30.0


def main() -> None:
    """Stall, measure, print."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--readers", type=int, default=200)
    options.add_argument("--megabytes", type=int, default=160)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_daemon(Path(folder) / "d") as daemon:
        outcome = stall(
            daemon,
            readers=chosen.readers,
            produced_bytes=chosen.megabytes * 1_000_000,
            recovery_s=RECOVERY_S,
        )
        control = read_along(
            daemon, readers=chosen.readers, produced_bytes=chosen.megabytes * 1_000_000
        )
    row(f"results for {chosen.readers} readers", f"{outcome.produced_bytes / 1e6:.0f} MB")
    asked = chosen.readers * outcome.rounds
    row("given up as slow consumers", f"{outcome.given_up} of {asked}")
    row(
        "growth of the daemon's memory, at the most",
        f"{outcome.peak_bytes / 1e6:.1f} MB",
        f"<= {MAX_GROWTH_BYTES / 1e6:.0f}",
        is_met=outcome.peak_bytes <= MAX_GROWTH_BYTES,
    )
    row(
        f"the same after {RECOVERY_S:.0f} s",
        f"{outcome.left_bytes / 1e6:.1f} MB",
        f"<= {MAX_LEFT_BYTES / 1e6:.0f}",
        is_met=outcome.left_bytes <= MAX_LEFT_BYTES,
    )
    for when in ("before", "during", "after"):
        latency = getattr(outcome, when)
        times = f"{latency.p50_ms:.2f} / {latency.p99_ms:.2f} ms"
        row(f"a ping of another client {when}: p50 / p99", times)
    times = f"{control.p50_ms:.2f} / {control.p99_ms:.2f} ms"
    row("the same beside readers who read as much: p50 / p99", times)


if __name__ == "__main__":
    main()
