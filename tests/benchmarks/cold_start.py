"""From nothing to ready: `python -m benchmarks.cold_start` in `tests/`.

The bare load is a Python process that imports the plugin, loads the model and reads half a second
with it. The daemon is `asrd serve --stdio`, asked for its health and to load at once; it is ready
when it has answered both. Both are timed from the start of the process, in turn.
"""

import argparse
import os
import subprocess
import sys
import time

from asrd.wire import messages as wire
from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection
from benchmarks.common import median, run_python

BARE_LOAD = """
import json, sys, time
import numpy as np
from asrd import DecodeOptions
from asrd.providers.registry import Registry
started = time.perf_counter()
registry = Registry()
registry.add(sys.argv[1])
provider = registry.providers[sys.argv[2]]
loaded = provider.load(provider.default_model, {})
loaded.decode(np.zeros(8000, np.float32), DecodeOptions())
print(json.dumps({"load_s": time.perf_counter() - started}))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    for provider in ("moonshine", "echo"):
        bare, loads, healths, ours = [], [], [], []
        for _ in range(options.rounds):
            wall_s, printed = run_python(BARE_LOAD, f"asrd_{provider}", provider)
            bare.append(wall_s)
            loads.append(printed["load_s"])
            health_s, ready_s = _times_s(provider)
            healths.append(health_s)
            ours.append(ready_s)
        print(
            f"{provider:10} bare process {median(bare):6.3f} s (load alone {median(loads):6.3f} s)"
            f"   daemon: health answered {median(healths):6.3f} s, ready {median(ours):6.3f} s"
            f"   added to the process {median(ours) - median(bare):6.3f} s,"
            f" to the load {median(ours) - median(loads):6.3f} s"
        )


def _times_s(provider: str) -> tuple[float, float]:
    """Seconds to the first answer to `health`, and to the model's being ready."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "asrd", "serve", "--stdio", "--provider", provider],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process has no pipes")
    process.stdin.write(encode(wire.Hello()) + encode(wire.GetHealth()) + encode(wire.Load()))
    process.stdin.flush()
    connection = ClientConnection()
    answered_s: list[float] = []
    while len(answered_s) < 2:
        data = os.read(process.stdout.fileno(), 2**16)
        if not data:
            raise RuntimeError("the daemon ended before it was ready")
        for message in connection.receive(memoryview(data)):
            if isinstance(message, wire.Error):
                raise RuntimeError(message.message)
            if isinstance(message, wire.Health):
                answered_s.append(time.perf_counter() - started)
    process.stdin.close()
    process.wait()
    return answered_s[0], answered_s[1]


if __name__ == "__main__":
    main()
