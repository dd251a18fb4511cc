"""The daemon as a program whose whole configuration is one JSON argument, limits and all.

`asrd serve` has options for what users set; tests also want a send timeout of half a second.
"""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from asrd.config import Config
from asrd.errors import StartupError
from asrd.server import app, logs


def main(text: str) -> int:
    wish: dict[str, Any] = json.loads(text)
    path = wish.pop("socket")
    config = msgspec.convert(wish, Config)
    logs.configure(config.log_level if "log_level" in wish else "debug")
    try:
        if path is None:
            return app.serve_stdio(config)
        return app.serve(config, socket_path=Path(path))
    except StartupError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
