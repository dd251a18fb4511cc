"""Where daemon and clients meet."""

import os
from pathlib import Path


def default_socket_path() -> Path:
    """Where daemon and clients meet unless told otherwise.

    `/run/asrd/asrd.sock` for root, `$XDG_RUNTIME_DIR/asrd/asrd.sock` for everybody else, and a
    folder under /tmp that bears the uid where there is no such directory (macOS, bare containers).
    """
    if os.geteuid() == 0:
        return Path("/run/asrd/asrd.sock")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "asrd" / "asrd.sock"
    return Path(f"/tmp/asrd-{os.geteuid()}/asrd.sock")  # noqa: S108 - 0700 and checked at bind
