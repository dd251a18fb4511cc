"""faster-whisper's models on disk: their names, what is seen to be damaged, and how they come."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asrd import DecodeOptions, ModelUnavailable, ProviderError
from asrd_faster_whisper import FasterWhisperProvider
from asrd_faster_whisper.files import REPOSITORIES, locate
from asrd_faster_whisper.weights import find_damage
from support.audio import read_wav, silence
from support.stand_in_hub import StandInHub, serve_folder, use_hub

if TYPE_CHECKING:
    from conftest import Recording, TinyWhisper

OPTIONS = DecodeOptions()
TINY = "Systran/faster-whisper-tiny"


@pytest.fixture
def phrase(tiny_samples: "list[Recording]") -> "Recording":
    return next(item for item in tiny_samples if item.transcript == "open nine one stop")


@pytest.mark.parametrize("name", ["config.json", "model.bin", "tokenizer.json"])
def test_a_missing_file_is_named_and_never_fetched(
    tiny_whisper: "TinyWhisper", tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(tiny_whisper.ctranslate2, tmp_path / "model")
    (folder / name).unlink()
    with pytest.raises(ModelUnavailable, match=f"lacks {re.escape(name)}"):
        FasterWhisperProvider().load(str(folder), {})


@pytest.fixture
def copy(tiny_whisper: "TinyWhisper", tmp_path: Path) -> Path:
    """The model's folder, to be damaged."""
    return shutil.copytree(tiny_whisper.ctranslate2, tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "content", "damage"),
    [
        ("config.json", b"[1, 2]", "config.json is no JSON object"),
        ("config.json", b'{"a": ', "config.json is no JSON object"),
        ("preprocessor_config.json", b"\xff", "preprocessor_config.json is no JSON object"),
        ("model.bin", b"", "model.bin is empty"),
        ("model.bin", b"\6\0", "model.bin breaks off after 2 bytes"),
        ("model.bin", b"\6\0\0\0\4\0Oak\0", "model.bin holds no Whisper model"),
        ("tokenizer.json", b'{"version": "1.0", "trunc', "tokenizer.json is cut off"),
        ("vocabulary.json", b"", "vocabulary.json is empty"),
    ],
)
def test_a_damaged_file_is_named_before_anything_loads(
    copy: Path, name: str, content: bytes, damage: str
) -> None:
    (copy / name).write_bytes(content)
    problem = f"The model in {copy} is damaged: {damage}."
    assert FasterWhisperProvider().status(str(copy)).problem == problem
    with pytest.raises(ProviderError, match=re.escape(problem)) as caught:
        FasterWhisperProvider().load(str(copy), {})
    assert not isinstance(caught.value, ModelUnavailable)


def test_weights_that_were_cut_anywhere_are_seen(tiny_whisper: "TinyWhisper", copy: Path) -> None:
    weights = copy / "model.bin"
    whole = weights.stat().st_size
    assert find_damage(weights) == ""
    for size in (whole - 1, whole // 2, 1000, 40, 10):
        os.truncate(weights, size)
        assert find_damage(weights) == f"breaks off after {size} bytes"
    assert find_damage(tiny_whisper.ctranslate2 / "model.bin") == ""


def test_what_only_the_engine_sees_is_its_error_with_advice(copy: Path) -> None:
    weights = copy / "model.bin"
    content = bytearray(weights.read_bytes())
    content[0] = 99  # a version of the format that nobody knows
    weights.write_bytes(content)
    sentence = rf"cannot load {re.escape(str(copy))}: .*version.* Convert or copy it again\."
    with pytest.raises(ProviderError, match=sentence):
        FasterWhisperProvider().load(str(copy), {})


@pytest.mark.parametrize("lacking", ["<|startoftranscript|>", "<|startoflm|>", "<|endoftext|>"])
def test_a_tokenizer_of_something_else_is_told_at_load(copy: Path, lacking: str) -> None:
    """The file is whole and the engine takes it; the first decode would have failed."""
    tokenizer = copy / "tokenizer.json"
    content = tokenizer.read_text(encoding="utf-8")
    assert lacking in content
    tokenizer.write_text(content.replace(lacking, "<|of_something_else|>"), encoding="utf-8")
    assert FasterWhisperProvider().status(str(copy)).is_present
    damage = f"is damaged: tokenizer.json has no {lacking}. Convert or copy it again."
    with pytest.raises(ProviderError, match=re.escape(damage)) as caught:
        FasterWhisperProvider().load(str(copy), {"device": "cpu"})
    assert not isinstance(caught.value, ModelUnavailable)


def test_a_link_to_nothing_is_a_missing_file(copy: Path) -> None:
    (copy / "model.bin").unlink()
    (copy / "model.bin").symlink_to(copy / "blob")
    status = FasterWhisperProvider().status(str(copy))
    assert status.problem == f"The folder {copy} lacks model.bin."


def test_a_path_is_known_by_its_absolute_name(
    tiny_whisper: "TinyWhisper", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_whisper.ctranslate2
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    status = FasterWhisperProvider().status("./link")
    assert (status.model, status.is_present) == (str(folder.resolve()), True)
    assert status.size_bytes == sum(path.stat().st_size for path in folder.iterdir())
    absent = FasterWhisperProvider().status("./absent")
    assert absent.problem == f"There is no folder {tmp_path / 'absent'}."


def test_two_names_of_the_same_weights_are_one() -> None:
    names = {name: FasterWhisperProvider().status(name).model for name in REPOSITORIES}
    aliases = {name: right for name, right in names.items() if name != right}
    assert aliases == {"large": "large-v3", "turbo": "large-v3-turbo"}
    assert FasterWhisperProvider().status(TINY).model == "tiny"


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    problem = FasterWhisperProvider().status("large_v3").problem
    assert problem == "faster-whisper has no model 'large_v3'; did you mean 'large-v3'?"
    assert "; it has tiny, tiny.en, base" in FasterWhisperProvider().status("zzzzzz").problem


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    return folder


def put_into_cache(cache: Path, repository: str, folder: Path) -> Path:
    """Lay the folder's files out as huggingface_hub does; returns the snapshot's folder."""
    home = cache / f"models--{repository.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0123abc")
    snapshot = home / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    for path in folder.iterdir():
        (snapshot / path.name).symlink_to(path)
    return snapshot


def test_a_model_in_the_cache_is_found_by_its_short_name(
    tiny_whisper: "TinyWhisper", cache: Path
) -> None:
    snapshot = put_into_cache(cache, TINY, tiny_whisper.ctranslate2)
    provider = FasterWhisperProvider()
    assert provider.status("tiny").is_present
    assert provider.status(TINY).is_present
    provider.load("tiny", {"device": "cpu"}).decode(silence(1), OPTIONS)

    (snapshot / "model.bin").unlink()
    broken = provider.status("tiny")
    assert broken.problem == (
        "The model 'tiny' in the Hugging Face cache is not whole: model.bin is missing."
    )
    assert broken.remedy == "asrd models pull faster_whisper/tiny"
    absent = provider.status("large")
    assert absent.problem == "The model 'large-v3' is not in the Hugging Face cache."
    assert absent.remedy == "asrd models pull faster_whisper/large-v3"


def test_every_name_is_listed_once_and_others_of_the_cache_too(
    tiny_whisper: "TinyWhisper", cache: Path
) -> None:
    put_into_cache(cache, TINY, tiny_whisper.ctranslate2)
    put_into_cache(cache, "me/my-whisper", tiny_whisper.ctranslate2)
    snapshot = put_into_cache(cache, "me/no-whisper", tiny_whisper.ctranslate2)
    (snapshot / "model.bin").unlink()
    listed = {status.model: status.is_present for status in FasterWhisperProvider().models()}
    names = [name for name in REPOSITORIES if name not in ("large", "turbo")]
    assert list(listed) == [*names, "me/my-whisper"]
    assert {name for name, is_present in listed.items() if is_present} == {"tiny", "me/my-whisper"}


@pytest.fixture
def hub(
    tiny_whisper: "TinyWhisper", cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandInHub]:
    files = {**serve_folder(tiny_whisper.ctranslate2), "README.md": b"not wanted"}
    with StandInHub({TINY: files, "me/text": {"config.json": b"{}"}}) as hub:
        use_hub(monkeypatch, hub.url, cache)
        yield hub


@pytest.mark.usefixtures("hub")
def test_a_pulled_model_reads(phrase: "Recording") -> None:
    provider = FasterWhisperProvider()
    told: list[tuple[int, int | None]] = []
    provider.pull("tiny", lambda here, total: told.append((here, total)))
    status = provider.status("tiny")
    assert status.is_present
    assert told[-1] == (status.size_bytes, status.size_bytes)
    files = locate("tiny")
    assert files is not None
    assert not (files.folder / "README.md").exists()
    model = provider.load("tiny", {"device": "cpu", "cpu_threads": 1})
    assert model.decode(read_wav(phrase.path), OPTIONS).text == phrase.transcript


def test_a_pull_that_breaks_is_no_model_and_the_next_one_makes_it_whole(
    hub: StandInHub, phrase: "Recording"
) -> None:
    provider = FasterWhisperProvider()
    hub.faults.only, hub.faults.cuts, hub.faults.cut_after_bytes = "model.bin", 1, 1_000_000
    hub.faults.statuses = [0, 0, 503]  # the headers, the download that is cut, the one after it
    with pytest.raises(ProviderError, match="answered with HTTP status 503"):
        provider.pull("tiny", lambda *_: None)
    assert not provider.status("tiny").is_present
    with pytest.raises(ModelUnavailable, match="asrd models pull faster_whisper/tiny"):
        provider.load("tiny", {})

    provider.pull("tiny", lambda *_: None)
    assert provider.status("tiny").is_present
    model = provider.load("tiny", {"device": "cpu", "cpu_threads": 1})
    assert model.decode(read_wav(phrase.path), OPTIONS).text == phrase.transcript


@pytest.mark.usefixtures("hub")
def test_a_pull_mends_weights_that_were_cut_in_the_cache() -> None:
    provider = FasterWhisperProvider()
    provider.pull("tiny", lambda *_: None)
    files = locate("tiny")
    assert files is not None
    os.truncate((files.folder / "model.bin").resolve(), 5_000)
    status = provider.status("tiny")
    assert status.problem.endswith("is not whole: model.bin breaks off after 5000 bytes.")
    with pytest.raises(ProviderError, match=r"breaks off after 5000 bytes\..*asrd models pull"):
        provider.load("tiny", {})
    provider.pull("tiny", lambda *_: None)
    assert provider.status("tiny").is_present


def test_what_the_hub_has_must_be_a_model(hub: StandInHub) -> None:
    provider = FasterWhisperProvider()
    with pytest.raises(ProviderError, match=r"'me/text' has no file 'model\.bin'"):
        provider.pull("me/text", lambda *_: None)
    hub.repositories[TINY]["config.json"] = b"[]"
    with pytest.raises(ProviderError, match=r"cannot be used\. .*config\.json is no JSON object"):
        provider.pull("tiny", lambda *_: None)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("bse", "has no model 'bse'; did you mean 'base'?"),
        ("/some/folder", "'/some/folder' is a path, and only names are fetched: tiny, "),
    ],
)
def test_only_names_are_pulled(model: str, sentence: str, hub: StandInHub) -> None:
    with pytest.raises(ProviderError, match=re.escape(sentence)):
        FasterWhisperProvider().pull(model, lambda *_: None)
    assert not hub.asked


def test_the_short_names_are_the_engines_own() -> None:
    from faster_whisper.utils import _MODELS

    assert REPOSITORIES == _MODELS


@pytest.mark.parametrize("name", ["x/y/z", "a/b; rm -rf", "base'", 'a"/b'])
def test_no_name_reaches_the_remedys_command_unless_it_is_plain(name: str) -> None:
    assert FasterWhisperProvider().status(name).remedy == ""
