"""Fetching a Moonshine model with the library's own downloader, in a child process.

The downloader knows the addresses, sizes and checksums. A file gets its name only when it is whole
(until then it ends in `.partial`, and a later run goes on with it), and one that has the wrong size
is fetched again. So it may work in the cache itself: what breaks off there lacks a file.
"""

import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from asrd import ProviderError, ReportPull

_LOOK_EVERY_S = 0.2
_LONGEST_REASON = 300

_log = logging.getLogger(__name__)


def download(folder: Path, language: str, architecture_number: int, report: ReportPull) -> None:
    """Fetch a model of the library's catalogue into its cache.

    Args:
        folder: where its files will be, to see how much is here.
        language: two letters.
        architecture_number: the library's own.
        report: called with the bytes that are here; nobody knows how many there will be.

    Raises:
        ProviderError: the downloader failed; the message ends with what it said last.
    """
    if language != "en":
        _log.warning(
            "Moonshine's models for languages other than English may not be used commercially: "
            "https://www.moonshine.ai/license"
        )
    told_bytes = -1
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            _command(language, architecture_number),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as child,
    ):
        try:
            is_done = False
            while not is_done:
                is_done = _has_ended(child)
                if (here_bytes := _bytes_in(folder)) != told_bytes:
                    told_bytes = here_bytes
                    report(here_bytes, None)
        except BaseException:  # Ctrl-C, most likely: the child must not go on alone
            child.kill()
            raise
        if child.returncode != 0:
            raise ProviderError(f"Moonshine's downloader failed: {_last_line(output)}")


def _command(language: str, architecture_number: int) -> list[str]:
    module = [sys.executable, "-m", "moonshine_voice.download", "--stt"]
    return [*module, "--language", language, "--model-arch", str(architecture_number)]


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(_LOOK_EVERY_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # it has just got its final name
            continue
    return total


def _last_line(output: IO[bytes]) -> str:
    """A traceback ends with its reason; progress bars overwrite their line."""
    output.seek(0)
    text = output.read().decode("utf-8", "replace").replace("\r", "\n")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    reason = lines[-1] if lines else "it said nothing."
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
