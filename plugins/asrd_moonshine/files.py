"""Where Moonshine's models lie on disk, and which files make one. Imports nothing of the engine."""

import importlib.util
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

Architecture = Literal[
    "tiny", "base", "tiny-streaming", "base-streaming", "small-streaming", "medium-streaming"
]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
"""In the order of the library's own numbers, which start at 0."""

CATALOGUE = (
    "tiny-en",
    "base-en",
    "tiny-streaming-en",
    "small-streaming-en",
    "medium-streaming-en",
    "base-ar",
    "base-es",
    "tiny-ja",
    "base-ja",
    "tiny-ko",
    "base-uk",
    "base-vi",
    "base-zh",
)
"""The models that the library's own catalogue offers for download, by our names."""

_WHOLE_FILES = ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin")
_STREAMING_FILES = (
    "adapter.ort",
    "cross_kv.ort",
    "decoder_kv.ort",
    "encoder.ort",
    "frontend.ort",
    "streaming_config.json",
    "tokenizer.bin",
)
_FEWEST_TOKENS = 256 + 3
"""The bytes, and the three marks before them."""

_NAME = re.compile(rf"({'|'.join(sorted(ARCHITECTURES, key=len, reverse=True))})-([a-z]{{2}})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model's folder, and what its name tells of it."""

    name: str
    """The model's one right name: of a path, the absolute path."""
    folder: Path
    architecture: Architecture | None
    language: str
    missing: tuple[str, ...]
    """Files that the library needs and the folder lacks."""
    size_bytes: int
    """What the needed files that are here take."""
    download: tuple[str, int] | None
    """Language and architecture number for the library's downloader; None for what it does not
    fetch: a path, and the model in the wheel."""

    @property
    def max_tokens_per_second(self) -> float:
        """Where output counts as a loop. Scripts with few letters per token speak more tokens."""
        return 6.5 if self.language in ("en", "es") else 13.0


@cache
def package_folder() -> Path | None:
    """The folder of the installed `moonshine_voice`, found without importing it."""
    spec = importlib.util.find_spec("moonshine_voice")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def locate(model: str) -> ModelFiles | None:
    """Find `model` by path or by a catalogue name; None where it is neither."""
    if os.sep in model or model.startswith("~"):
        # Links stay: their names are those that the user knows, and tell what the model is.
        folder = Path(os.path.abspath(Path(model).expanduser()))  # noqa: PTH100
        read_from = f"{folder.parent.name} {folder.name}"
        return _describe(str(folder), folder, read_from=read_from, download=None)
    if model not in CATALOGUE:
        return None
    package = package_folder()
    embedded = package / "assets" / model if package else None
    if embedded is not None and embedded.is_dir():
        return _describe(model, embedded, read_from=model, download=None)
    architecture, language = _read_name(model)
    number = ARCHITECTURES.index(architecture) if architecture else 0
    folder = _cache_folder() / "download.moonshine.ai" / "model" / model / "quantized"
    # The library's downloader puts streaming models one level higher than the others.
    folder = folder if "streaming" in model else folder / model
    return _describe(model, folder, read_from=model, download=(language, number))


def is_whole_tokenizer(path: Path) -> bool:
    """Whether the file is a list of tokens up to its end.

    The library loads some that are not, and fails at the first word then.

    Raises:
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    position = tokens = 0
    try:
        while position < len(content):
            length = content[position]
            position += 1
            if length >= 128:  # seven bits, and the higher ones in a second byte
                length += 128 * (content[position] - 1)
                position += 1
            position += length
            tokens += 1
    except IndexError:
        return False
    return position == len(content) and tokens >= _FEWEST_TOKENS


def _cache_folder() -> Path:
    if chosen := os.environ.get("MOONSHINE_VOICE_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_dir  # comes with moonshine-voice

    return Path(user_cache_dir("moonshine_voice"))


def _read_name(name: str) -> tuple[Architecture | None, str]:
    found = _NAME.search(name)
    if found is None:
        return None, "en"
    architecture = next(known for known in ARCHITECTURES if known == found[1])
    return architecture, found[2]


def _describe(
    name: str, folder: Path, *, read_from: str, download: tuple[str, int] | None
) -> ModelFiles:
    architecture, language = _read_name(read_from)
    is_streaming = (
        "streaming" in (architecture or "") or (folder / "streaming_config.json").exists()
    )
    needed = _STREAMING_FILES if is_streaming else _WHOLE_FILES
    present = [folder / file for file in needed if (folder / file).is_file()]
    return ModelFiles(
        name=name,
        folder=folder,
        architecture=architecture,
        language=language,
        missing=tuple(file for file in needed if folder / file not in present),
        size_bytes=sum(path.stat().st_size for path in present),
        download=download,
    )
