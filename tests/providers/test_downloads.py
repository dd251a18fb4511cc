"""Files from a hub: what arrives, what is told meanwhile, and what is said when it does not."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrd.errors import ProviderError
from asrd.providers.downloads import fetch_from_hub
from support.stand_in_hub import StandInHub, use_hub

REPOSITORY = "someone/some-model"
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
FILES = {
    "config.json": b"{}",
    "model.bin": WEIGHTS,
    "vocabulary.txt": b"one\ntwo\n",
    "sub/extra.json": b"[]",
    "README.md": b"not wanted",
}
WANTED = ["config.json", "model.bin", "vocabulary.*"]
WANTED_BYTES = 2 + len(WEIGHTS) + 8


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[StandInHub]:
    with StandInHub({REPOSITORY: FILES}) as hub:
        use_hub(monkeypatch, hub.url, cache)
        # Progress and resuming go by the library's chunks, of 10 MB otherwise.
        monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 64 * 1024)
        yield hub


def ignore(_: int, __: int | None) -> None:
    pass


def failure(repository: str = REPOSITORY, files: list[str] | None = None) -> str:
    with pytest.raises(ProviderError) as caught:
        fetch_from_hub(repository, files or WANTED, ignore)
    return str(caught.value)


def test_exactly_what_is_asked_for_arrives_in_the_cache(hub: StandInHub, cache: Path) -> None:
    folder = fetch_from_hub(REPOSITORY, WANTED, ignore, optional=["sub/*", "absent.json"])
    assert folder.parent == cache / "models--someone--some-model" / "snapshots"
    arrived = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert arrived == {name: FILES[name] for name in FILES if name != "README.md"}
    current = folder.parent.parent / "refs" / "main"
    assert current.read_text() == folder.name == hub.commit_of(REPOSITORY)


@pytest.mark.usefixtures("hub")
def test_bytes_are_told_as_they_come_and_over_all_files() -> None:
    told: list[tuple[int, int | None]] = []
    fetch_from_hub(REPOSITORY, WANTED, lambda here, total: told.append((here, total)))
    counts = [here for here, _ in told]
    assert {total for _, total in told} == {WANTED_BYTES}
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, WANTED_BYTES)
    assert len(set(counts)) >= 16  # 1 MiB in chunks of 64 KiB


def test_what_is_here_is_not_fetched_again(hub: StandInHub) -> None:
    first = fetch_from_hub(REPOSITORY, WANTED, ignore)
    hub.asked.clear()
    told: list[int] = []
    assert fetch_from_hub(REPOSITORY, WANTED, lambda here, _: told.append(here)) == first
    assert told[-1] == WANTED_BYTES
    assert not [asked for asked in hub.asked if asked.method == "GET" and "resolve" in asked.path]


def test_a_cached_file_that_was_cut_or_lost_is_fetched_again(hub: StandInHub) -> None:
    folder = fetch_from_hub(REPOSITORY, WANTED, ignore)
    os.truncate((folder / "model.bin").resolve(), 1000)
    (folder / "vocabulary.txt").resolve().unlink()  # leaves a link to nothing
    hub.asked.clear()
    assert fetch_from_hub(REPOSITORY, WANTED, ignore) == folder
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert (folder / "vocabulary.txt").read_bytes() == FILES["vocabulary.txt"]
    assert not any("config.json" in asked.path and asked.method == "GET" for asked in hub.asked)


def test_a_short_break_is_bridged_from_where_it_was(hub: StandInHub) -> None:
    hub.faults.only, hub.faults.cuts, hub.faults.cut_after_bytes = "model.bin", 1, 300_000
    told: list[int] = []
    folder = fetch_from_hub(REPOSITORY, WANTED, lambda here, _: told.append(here))
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    ranges = [asked.range for asked in hub.asked if "model.bin" in asked.path and asked.range]
    assert ranges == [f"bytes={4 * 64 * 1024}-"]
    assert told == sorted(told)


def test_a_download_that_breaks_leaves_nothing_that_looks_whole(
    hub: StandInHub, cache: Path
) -> None:
    hub.faults.only, hub.faults.cuts, hub.faults.cut_after_bytes = "model.bin", 1, 300_000
    hub.faults.statuses = [0, 0, 500]  # the headers, the download that is cut, the one after it
    assert "answered with HTTP status 500" in failure()
    assert not list(cache.rglob("model.bin"))
    assert not (cache / "models--someone--some-model" / "refs" / "main").exists()

    folder = fetch_from_hub(REPOSITORY, WANTED, ignore)
    assert (folder / "model.bin").read_bytes() == WEIGHTS


def test_while_a_newer_version_is_not_whole_the_older_one_stays(
    hub: StandInHub, cache: Path
) -> None:
    older = fetch_from_hub(REPOSITORY, WANTED, ignore)
    current = cache / "models--someone--some-model" / "refs" / "main"
    hub.repositories[REPOSITORY]["model.bin"] = WEIGHTS[::-1]
    hub.faults.only, hub.faults.statuses = "model.bin", [0, 404]
    failure()
    assert current.read_text() == older.name
    newer = fetch_from_hub(REPOSITORY, WANTED, ignore)
    assert current.read_text() == newer.name != older.name
    assert (newer / "model.bin").read_bytes() == WEIGHTS[::-1]


@pytest.mark.usefixtures("hub")
def test_wrong_names_are_told() -> None:
    assert "shows no repository 'someone/else': the name is wrong" in failure("someone/else")
    assert "'no name' is not the name of a repository" in failure("no name")
    assert "has no file 'absent.bin'" in failure(files=["config.json", "absent.bin"])


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (401, "", "refuses 'someone/some-model' (HTTP status 401); check the name, and set HF_TOK"),
        (401, "RepoNotFound", "or it is private and needs a token in HF_TOKEN."),
        (403, "GatedRepo", "is gated: accept its terms on the hub's page, and set HF_TOKEN"),
        (403, "", "(HTTP status 403); check the name, and set HF_TOKEN to a token"),
        (429, "", "answered with HTTP status 429 for 'someone/some-model'; try again later"),
        (500, "", "answered with HTTP status 500 for 'someone/some-model'; try again later"),
    ],
)
def test_a_refusal_is_told_with_what_helps(
    hub: StandInHub, status: int, code: str, sentence: str
) -> None:
    hub.faults.statuses, hub.faults.error_code = [status], code
    assert sentence in failure()


def test_a_secret_is_sent_and_never_shown(
    hub: StandInHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch_from_hub(REPOSITORY, WANTED, ignore)
    assert any(asked.authorization == "Bearer hf_secret" for asked in hub.asked)
    hub.faults.statuses = [401]
    assert "secret" not in failure()
    use_hub(monkeypatch, "http://me:secret@127.0.0.1:1", cache)
    message = failure()
    assert "could not be fetched from http://127.0.0.1:1 (" in message
    assert "check the network connection, or HF_ENDPOINT" in message


def test_offline_mode_is_told(cache: Path) -> None:
    """The library looks at the variable when it is imported, so this takes a process of its own."""
    code = f"""
from asrd.errors import ProviderError
from asrd.providers.downloads import fetch_from_hub
try:
    fetch_from_hub("{REPOSITORY}", ["config.json"], print)
except ProviderError as error:
    print(error)
"""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    sentence = "HF_HUB_OFFLINE is set, so nothing is fetched; unset it and try again."
    assert (result.stdout.strip(), result.stderr) == (sentence, "")


def test_a_disk_that_is_too_small_is_seen_beforehand(
    hub: StandInHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total, used, _ = shutil.disk_usage(cache.parent)
    usage = type(shutil.disk_usage(cache.parent))(total, used, 500_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    message = failure()
    assert f"too little space in {cache}: 1 MB are needed and 0 MB are free" in message
    assert not any("resolve" in asked.path for asked in hub.asked)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "The disk is full; free some space in {cache}"),
        (errno.EROFS, "The folder {cache} cannot be written"),
    ],
)
def test_a_disk_that_fails_is_told_with_its_folder(
    cache: Path, monkeypatch: pytest.MonkeyPatch, number: int, sentence: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("huggingface_hub.file_download.http_get", fail)
    assert sentence.format(cache=cache) in failure()
    assert not list(cache.rglob("*.incomplete"))


def test_nothing_is_printed(hub: StandInHub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.faults.only, hub.faults.cuts, hub.faults.cut_after_bytes = "model.bin", 1, 300_000
    fetch_from_hub(REPOSITORY, WANTED, ignore)
    hub.faults.only, hub.faults.statuses = "", [500]
    failure()
    assert capfd.readouterr() == ("", "")


def test_a_library_without_the_option_still_fetches(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As versions before 2 were: then the bytes are told file by file."""
    import huggingface_hub
    from huggingface_hub.utils.tqdm import enable_progress_bars

    def download(
        repository: str,
        name: str,
        *,
        cache_dir: Path,
        endpoint: str,
        revision: str | None = None,
        force_download: bool = False,
    ) -> str:
        return original(
            repository,
            name,
            cache_dir=cache_dir,
            endpoint=endpoint,
            revision=revision,
            force_download=force_download,
        )

    original = huggingface_hub.hf_hub_download
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    told: list[int] = []
    try:
        fetch_from_hub(REPOSITORY, WANTED, lambda here, _: told.append(here))
    finally:
        enable_progress_bars()
    assert told == [0, 2, 2 + len(WEIGHTS), WANTED_BYTES]
    assert capfd.readouterr() == ("", "")
    assert hub.asked


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}, "/c"),
        ({"HF_HOME": "/h"}, "/h/hub"),
        ({"HF_HOME": "$HOME/h", "HOME": "/home/me"}, "/home/me/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HOME": "/home/me"}, "/home/me/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_library_has_it(variables: dict[str, str], folder: str) -> None:
    names = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
    plain = {name: value for name, value in os.environ.items() if name not in names}
    code = """
from huggingface_hub.constants import HF_HUB_CACHE
from asrd.providers.downloads import hub_cache
print(hub_cache(), HF_HUB_CACHE)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=plain | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [folder, folder]


def test_looking_for_the_cache_imports_no_library() -> None:
    code = "import sys, asrd.providers.downloads; print('huggingface_hub' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False"
