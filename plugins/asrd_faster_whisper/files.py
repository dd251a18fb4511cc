"""Where CTranslate2 Whisper models lie on disk.

The Hugging Face cache is read here by its layout, without huggingface_hub, because importing that
takes longer than the whole daemon may take to start. The worker is given the folder that was found
here, so no code path is left that could reach for the network.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

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

# Without tokenizer.json the engine would fetch one, so its absence counts as the model's.
_NEEDED = ("config.json", "model.bin", "tokenizer.json")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model's folder, or where it would be."""

    folder: Path
    missing: tuple[str, ...]
    repository: str | None
    """Where it can be fetched from; None for a path."""


def locate(model: str) -> ModelFiles | None:
    """Find `model`: a short name, a path, or a repository `owner/name` of the hub.

    A relative path needs a separator in it, so that no folder of the working directory hides a
    short name. Returns None for what is none of these.
    """
    folder = Path(model).expanduser()
    if folder.is_absolute() or model.startswith(".") or (os.sep in model and folder.is_dir()):
        return _describe(folder, repository=None)
    repository = REPOSITORIES.get(model, model)
    if _REPOSITORY.fullmatch(repository) is None:
        return None
    return _describe(_snapshot(repository), repository=repository)


def _describe(folder: Path, *, repository: str | None) -> ModelFiles:
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if not any(folder.glob("vocabulary.*")):
        missing.append("vocabulary.json")
    return ModelFiles(folder=folder, missing=tuple(missing), repository=repository)


def _snapshot(repository: str) -> Path:
    """The folder of the cached revision `main`."""
    home = _hub_cache() / f"models--{repository.replace('/', '--')}"
    try:
        revision = (home / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        revision = "main"
    return home / "snapshots" / revision


def _hub_cache() -> Path:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := os.environ.get(name):
            return Path(value).expanduser()
    if value := os.environ.get("HF_HOME"):
        return Path(value).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"
