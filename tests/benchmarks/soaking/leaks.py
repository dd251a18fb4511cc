"""Leaks built into a daemon, to see that the soak finds them: a plugin that patches one place.

The core loads every plugin, so that the daemon is otherwise the very one that ships.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asrd.server.connections import Door
from asrd.server.hub import Hub
from asrd.server.served import ServedStream
from support.daemon import install_plugins

_kept: list[object] = []

PLUGIN = """
from asrd import hookimpl
from benchmarks.soaking.leaks import begin


@hookimpl
def asrd_register_providers(register):
    begin({name!r})
"""


def plugin(folder: Path, name: str) -> Path:
    """Install a plugin with that leak; the folder returned belongs on Python's path."""
    install_plugins(folder, {"leak": "asrd_soak_leak"})
    (folder / "asrd_soak_leak.py").write_text(PLUGIN.format(name=name))
    return folder


def begin(name: str) -> None:
    """Leak from now on, in this process."""
    owner, method, leak = LEAKS[name]
    original = getattr(owner, method)

    def leaking(*arguments: Any, **named: Any) -> Any:
        leak(*arguments)
        return original(*arguments, **named)

    setattr(owner, method, leaking)


def _keep_chunk(_: ServedStream, data: bytes, *__: object) -> None:
    _kept.append(data)


def _open_file(*_: object) -> None:
    os.open(os.devnull, os.O_RDONLY)


def _start_task(*_: object) -> None:
    _kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(1e6)))


LEAKS: Mapping[str, tuple[type, str, Callable[..., None]]] = {
    "memory": (ServedStream, "receive", _keep_chunk),
    "descriptors": (Door, "admit", _open_file),
    "tasks": (Hub, "open", _start_task),
}
"""What leaks, and by which call: every chunk is kept; each connection opens a file that nobody
closes; each stream starts a task that does not end in the run's time."""
