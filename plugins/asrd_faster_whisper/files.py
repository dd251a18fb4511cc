"""Where CTranslate2 Whisper models lie on disk, and whether they are whole.

The Hugging Face cache is read here by its layout, without huggingface_hub, because importing that
takes longer than the whole daemon may take to start. The worker is given the folder that was found
here, so no code path is left that could reach for the network.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asrd.providers.downloads import hub_cache
from asrd.providers.hub_cache import snapshot_folder
from asrd_faster_whisper import weights

REPOSITORIES = {
    "tiny": "Systran/faster-whisper-tiny",
    "tiny.en": "Systran/faster-whisper-tiny.en",
    "base": "Systran/faster-whisper-base",
    "base.en": "Systran/faster-whisper-base.en",
    "small": "Systran/faster-whisper-small",
    "small.en": "Systran/faster-whisper-small.en",
    "medium": "Systran/faster-whisper-medium",
    "medium.en": "Systran/faster-whisper-medium.en",
    "large-v1": "Systran/faster-whisper-large-v1",
    "large-v2": "Systran/faster-whisper-large-v2",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}
"""Short names and what they stand for; a test holds them against the engine's own table."""

# The first short name of a repository is its right one: `large-v3`, not `large`.
_NAMES = {repository: name for name, repository in reversed(REPOSITORIES.items())}

# Without tokenizer.json the engine would fetch one, so its absence counts as the model's.
_NEEDED = ("config.json", "model.bin", "tokenizer.json")
_VOCABULARIES = ("vocabulary.json", "vocabulary.txt")

FILES = (*_NEEDED, "vocabulary.*")
"""What a repository must hold."""

OPTIONAL_FILES = ("preprocessor_config.json",)
"""What is fetched and used where it exists: large-v3 and its kin have it."""

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)", re.ASCII)
_EDGE_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model's folder, or where it would be, and what was seen there.

    `name` is the model's one right name: short, a repository, or an absolute path. `repository` is
    where it can be fetched from; None for a path. `missing` holds names of files, `damaged` what is
    wrong with which file. `size_bytes` is what all of its files take.
    """

    name: str
    folder: Path
    repository: str | None
    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    size_bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether the model can be loaded, as far as can be seen from outside."""
        return not self.missing and not self.damaged


def locate(model: str) -> ModelFiles | None:
    """Find `model`: a short name, a path, or a repository `owner/name` of the hub.

    A relative path needs a separator in it, so that no folder of the working directory hides a
    short name. Returns None for what is none of these.
    """
    folder = Path(model).expanduser()
    if folder.is_absolute() or model.startswith(".") or (os.sep in model and folder.is_dir()):
        folder = folder.resolve()
        return _describe(folder, name=str(folder), repository=None)
    repository = REPOSITORIES.get(model, model)
    if _REPOSITORY.fullmatch(repository) is None:
        return None
    return _describe(
        snapshot_folder(repository), name=_NAMES.get(repository, repository), repository=repository
    )


def known_names() -> list[str]:
    """Every short name; of two that mean the same, the right one."""
    return list(dict.fromkeys(_NAMES[repository] for repository in REPOSITORIES.values()))


def cached_names() -> Iterator[str]:
    """Repositories of the Hugging Face cache, beside the known ones, that hold a whole model."""
    for home in sorted(hub_cache().glob("models--*")):
        if (match := _CACHED.fullmatch(home.name)) is None:
            continue
        repository = f"{match[1]}/{match[2]}"
        if repository not in _NAMES:
            files = locate(repository)
            if files is not None and files.is_whole:
                yield repository


def _describe(folder: Path, *, name: str, repository: str | None) -> ModelFiles:
    missing = [needed for needed in _NEEDED if not (folder / needed).is_file()]
    vocabulary = next((one for one in _VOCABULARIES if (folder / one).is_file()), None)
    if vocabulary is None:
        missing.append(_VOCABULARIES[0])
    optional = [one for one in OPTIONAL_FILES if (folder / one).is_file()]
    present = [one for one in (*_NEEDED, vocabulary, *optional) if one and one not in missing]
    found = {one: _find_damage(folder / one) for one in present}
    return ModelFiles(
        name=name,
        folder=folder,
        repository=repository,
        missing=tuple(missing),
        damaged=tuple(f"{one} {damage}" for one, damage in found.items() if damage),
        size_bytes=sum((folder / one).stat().st_size for one in present),
    )


def _find_damage(path: Path) -> str:
    """Say what is wrong with a file of a model; empty when nothing is seen."""
    try:
        if not path.stat().st_size:
            return "is empty"
        if path.name == "model.bin":
            return weights.find_damage(path)
        if path.suffix != ".json":
            return ""
        if path.name.endswith("config.json"):
            return "" if isinstance(_read_json(path), dict) else "is no JSON object"
        return "" if _has_both_ends(path) else "is cut off"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def _has_both_ends(path: Path) -> bool:
    """Whether a long JSON file ends as it begins: reading all of it would take too long here."""
    with path.open("rb") as file:
        first = file.read(_EDGE_BYTES).lstrip()[:1]
        file.seek(-min(_EDGE_BYTES, path.stat().st_size), os.SEEK_END)
        last = file.read().rstrip()[-1:]
    return (first, last) in ((b"{", b"}"), (b"[", b"]"))
