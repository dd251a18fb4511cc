"""What children take, seen from outside."""

import subprocess
import sys

from asrd.cli.benching.gauge import Gauge, memory_kind
from support.waiting import wait_until

HELD_BYTES = 60_000_000
PROGRAM = f"""
held = bytearray(b"x") * {HELD_BYTES}
while sum(range(1000)):
    print(flush=True)
"""


def test_memory_and_time_of_a_child_are_seen() -> None:
    with Gauge() as gauge:
        before = gauge.cpu_time()
        with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.DEVNULL) as child:
            wait_until(lambda: gauge.peak_bytes > HELD_BYTES, "the child's memory")
            after = gauge.cpu_time()
            child.kill()
    assert after.own_s > before.own_s
    peak_bytes = gauge.peak_bytes
    assert HELD_BYTES < peak_bytes < 10 * HELD_BYTES
    assert not gauge._thread.is_alive()


def test_memory_is_counted_in_the_best_way_there_is() -> None:
    assert memory_kind() == ("pss" if sys.platform == "linux" else "uss")
