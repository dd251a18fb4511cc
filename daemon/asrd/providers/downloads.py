"""Models from the Hugging Face hub, into the cache that every program of this user shares.

The library does the fetching: locks against a second process, and a name in the snapshot's folder
only for a file that is whole, so that a pull that was broken off goes on with the next file. What
is added here is what a command needs: the bytes so far, and one sentence for whatever goes wrong.
"""

import errno
import inspect
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asrd.errors import ProviderError

if TYPE_CHECKING:
    from asrd.providers.spec import ReportPull

_ANSWER_TIMEOUT_S = 20.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def hub_cache() -> Path:
    """The folder of the Hugging Face cache, as the environment sets it now."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := os.environ.get(name):
            return _expanded(value)
    if value := os.environ.get("HF_HOME"):
        return _expanded(value) / "hub"
    return _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def fetch_from_hub(
    repository: str, files: Sequence[str], report: "ReportPull", *, optional: Sequence[str] = ()
) -> Path:
    """Fetch files of a repository of the hub into the Hugging Face cache.

    What is here already is not fetched again, and what broke off is taken up again where the
    library can. Only when every file is whole does the cache take the snapshot for the current
    one; until then an older one stays in use.

    Args:
        repository: `owner/name`.
        files: names or glob patterns; each must match at least one file.
        report: called with the bytes that are here and those there will be, over all files; not
            always from the calling thread.
        optional: names or glob patterns of files that are fetched where they exist.

    Returns:
        The snapshot's folder.

    Raises:
        ProviderError: a name is wrong, the hub cannot be reached or refuses, the disk is full. The
            message says what to do.
    """
    cache = hub_cache()
    with _told_plainly(repository, cache), _silence():
        return _fetch(repository, cache, tuple(files), tuple(optional), report)


def _fetch(
    repository: str,
    cache: Path,
    files: tuple[str, ...],
    optional: tuple[str, ...],
    report: "ReportPull",
) -> Path:
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    endpoint = _endpoint()
    info = HfApi(endpoint=endpoint).model_info(
        repository, files_metadata=True, timeout=_ANSWER_TIMEOUT_S
    )
    sizes = {file.rfilename: file.size for file in info.siblings or ()}
    wanted = _choose(repository, tuple(sizes), files, optional)
    total = _sum(sizes[name] for name in wanted)

    def find(name: str) -> int | None:
        """The size of the cached file, None without one."""
        path = try_to_load_from_cache(repository, name, cache_dir=cache, revision=info.sha)
        return Path(path).stat().st_size if isinstance(path, str) else None

    found = {name: find(name) for name in wanted}
    is_here = {
        name: found[name] is not None and sizes[name] in (None, found[name]) for name in wanted
    }
    _check_space(cache, sum(sizes[name] or 0 for name in wanted if not is_here[name]))

    tally = _Tally(report, total)
    progress = _progress_option(hf_hub_download, tally)
    for name in sorted(wanted, key=lambda name: not is_here[name]):
        tally.begin_file(sizes[name])
        path = hf_hub_download(
            repository,
            name,
            revision=info.sha,
            cache_dir=cache,
            endpoint=endpoint,
            # The library takes a file of the right name for whole, even when it was cut since.
            force_download=found[name] is not None and not is_here[name],
            **progress,
        )
        tally.end_file(Path(path).stat().st_size)
    # By the branch's name and not the commit's: this has the cache take the snapshot for current.
    path = hf_hub_download(repository, wanted[0], cache_dir=cache, endpoint=endpoint, **progress)
    return Path(path).parents[wanted[0].count("/")]


def _choose(
    repository: str, names: tuple[str, ...], files: tuple[str, ...], optional: tuple[str, ...]
) -> tuple[str, ...]:
    for pattern in files:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ProviderError(
                f"The repository '{repository}' has no file '{pattern}', so it holds no model of "
                f"the kind that was asked for; check the name."
            )
    return tuple(
        name for name in names if any(fnmatchcase(name, pattern) for pattern in (*files, *optional))
    )


class _Tally:
    """Sums bytes over files. The library's counts are taken for hints: what it counts twice, or
    again after a new start, never makes a file larger than it is."""

    def __init__(self, report: "ReportPull", total: int | None) -> None:
        self._report, self._total = report, total
        self._done = self._partial = 0
        self._file_size: int | None = None
        report(0, total)

    def begin_file(self, size: int | None) -> None:
        self._file_size, self._partial = size, 0

    def add(self, count: float | None) -> None:
        partial = max(0, self._partial + int(count or 0))
        self._partial = partial if self._file_size is None else min(partial, self._file_size)
        self._report(self._done + self._partial, self._total)

    def end_file(self, size: int) -> None:
        self._done += size
        self._partial = 0
        self._report(self._done, self._total)


def _progress_option(download: Any, tally: _Tally) -> dict[str, Any]:
    """The argument that has `download` tell its progress, and draw nothing.

    Versions of the library before `tqdm_class` tell nothing while a file comes: then the bytes
    are reported file by file.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars, tqdm

    if "tqdm_class" not in inspect.signature(download).parameters:
        disable_progress_bars()
        return {}

    class Counter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **(kwargs | {"disable": True}))  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            tally.add(n)

        # The next two keep bytes on the wire, which are told beside bytes on the disk, apart.
        def update_transfer(self, n: float | None = 1) -> None:
            pass

        def set_transfer_postfix_str(self, *args: Any, **kwargs: Any) -> None:
            pass

    return {"tqdm_class": Counter}


def _sum(sizes: Iterator[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def _check_space(cache: Path, needed_bytes: int) -> None:
    """Raise before anything is fetched that will not fit."""
    folder = cache
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ProviderError(
            f"There is too little space in {cache}: {needed_bytes / 1e6:,.0f} MB are needed and "
            f"{free_bytes / 1e6:,.0f} MB are free; free some, or set HF_HUB_CACHE."
        )


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the library's log and warnings off stderr: what matters comes as an error."""
    logger = logging.getLogger("huggingface_hub")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The library sets its own level when it is imported.
        import huggingface_hub.utils  # noqa: F401

        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


@contextmanager
def _told_plainly(repository: str, cache: Path) -> Iterator[None]:
    """Turn whatever the library raises into a ProviderError of one sentence."""
    try:
        yield
    except ProviderError:
        raise
    except Exception as error:  # the library raises its own errors and those of its HTTP client
        raise ProviderError(_sentence(error, repository, cache)) from error


def _sentence(error: BaseException, repository: str, cache: Path) -> str:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    endpoint = _endpoint()
    hub = "the Hugging Face hub" if endpoint is None else _shown(endpoint)
    status = getattr(getattr(error, "response", None), "status_code", None)
    number = getattr(error, "errno", None)
    match error:
        case OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set, so nothing is fetched; unset it and try again."
        case HFValidationError():
            return f"'{repository}' is not the name of a repository; write it as owner/name."
        case GatedRepoError():
            return (
                f"The repository '{repository}' is gated: accept its terms on the hub's page, and "
                f"set HF_TOKEN to a token that may read it."
            )
        case RepositoryNotFoundError():
            return (
                f"The hub at {hub} shows no repository '{repository}': the name is wrong, or it is "
                f"private and needs a token in HF_TOKEN."
            )
        case RevisionNotFoundError() | EntryNotFoundError():
            return (
                f"The hub at {hub} lists files of '{repository}' that it does not have; try again, "
                f"or check the name."
            )
        case _:
            pass
    if status in (401, 403):
        return (
            f"The hub at {hub} refuses '{repository}' (HTTP status {status}); check the "
            f"name, and set HF_TOKEN to a token that may read it."
        )
    if status is not None:
        return (
            f"The hub at {hub} answered with HTTP status {status} for '{repository}'; try again "
            f"later, or check HF_ENDPOINT."
        )
    if number in _FULL:
        return f"The disk is full; free some space in {cache}, or set HF_HUB_CACHE."
    if number in _NOT_WRITABLE:
        return f"The folder {cache} cannot be written; change its owner, or set HF_HUB_CACHE."
    return (
        f"'{repository}' could not be fetched from {hub} ({type(error).__name__}); check the "
        f"network connection, or HF_ENDPOINT if it is set, and try again."
    )


def _endpoint() -> str | None:
    return (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None


def _shown(endpoint: str) -> str:
    """The endpoint as it may be printed: it can hold a password."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()
