"""A search led by coverage: `python -m fuzz.atheris_parser CORPUS` in `tests/`.

The target is the daemon's parser. It needs atheris (`pip install atheris`), which is no dependency
of asrd: its wheels are for few platforms. All options are libFuzzer's, such as `-max_total_time=60`
or `-seed=1`. The first byte of an input says whether the connection has been greeted, and how the
rest is cut into reads.

A finding is an exception out of `ServerConnection`, or a difference between what the bytes say in
one read and in several.
"""

import sys
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

IS_INSTALLED = find_spec("atheris") is not None
atheris: Any = import_module("atheris") if IS_INSTALLED else None

INSTRUMENTED = ["asrd.framing", "asrd.wire"]
instrumenting: AbstractContextManager[object] = (
    atheris.instrument_imports(include=INSTRUMENTED) if IS_INSTALLED else nullcontext()
)
with instrumenting:  # whatever is imported here first tells where inputs lead
    from asrd.wire.connection import ServerConnection
    from fuzz.mutator import framed, seeds
    from fuzz.parser import HELLO, outcome_of
    from wire.make_golden import golden

GREETED = 0x80
"""Bit of the first byte; the others are the size of the reads, 0 for one read."""


def read(data: bytes, size: int, *, is_greeted: bool) -> list[tuple[str, object]]:
    """What a connection yields to `data`, fed in reads of that size."""
    connection = ServerConnection()
    if is_greeted:
        list(connection.receive(HELLO))
    return [
        outcome_of(said, data)
        for begin in range(0, len(data), size)
        for said in connection.receive(memoryview(data)[begin : begin + size])
    ]


def test_one_input(data: bytes) -> None:
    """What atheris calls with every input."""
    if len(data) < 2:
        return
    is_greeted, size = bool(data[0] & GREETED), data[0] & ~GREETED
    whole = read(data[1:], len(data), is_greeted=is_greeted)
    if size and read(data[1:], size, is_greeted=is_greeted) != whole:
        raise AssertionError(f"cut into {size} it says something else")


def write_seeds(folder: Path) -> None:
    """The golden frames, as the inputs to begin with."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in seeds("client"):
        frame = golden(name)
        (folder / name).write_bytes(bytes((GREETED,)) + frame)
        (folder / f"{name}_twice").write_bytes(bytes((GREETED | 7,)) + frame + framed(frame[4:]))


def main() -> None:
    """Fuzz until an option of libFuzzer ends it."""
    if not IS_INSTALLED:
        raise SystemExit("atheris is not installed: pip install atheris")
    corpus = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    if corpus is None:
        raise SystemExit("name a folder for the corpus: python -m fuzz.atheris_parser CORPUS")
    write_seeds(Path(corpus))
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
