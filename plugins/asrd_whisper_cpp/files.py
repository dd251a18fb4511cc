"""Where ggml models lie on disk: the Hugging Face cache, pywhispercpp's own folder, or any path."""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from asrd.providers.hub_cache import snapshot_folder
from asrd_whisper_cpp.ggml import find_problem

REPOSITORY = "ggerganov/whisper.cpp"
"""The hub's repository that holds one file for each of `NAMES`."""

_QUANTIZED = {
    "tiny": ("q5_1", "q8_0"),
    "tiny.en": ("q5_1", "q8_0"),
    "base": ("q5_1", "q8_0"),
    "base.en": ("q5_1", "q8_0"),
    "small": ("q5_1", "q8_0"),
    "small.en": ("q5_1", "q8_0"),
    "medium": ("q5_0", "q8_0"),
    "medium.en": ("q5_0", "q8_0"),
    "large-v1": (),
    "large-v2": ("q5_0", "q8_0"),
    "large-v3": ("q5_0",),
    "large-v3-turbo": ("q5_0", "q8_0"),
}
NAMES = tuple(
    name for size, kinds in _QUANTIZED.items() for name in (size, *(f"{size}-{k}" for k in kinds))
)
"""The models that can be fetched; a test holds them against pywhispercpp's own list."""

_OTHER_NAMES = {"large": "large-v3", "turbo": "large-v3-turbo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model's file, or where it would be.

    `name` is the model's one right name: for a path, the absolute path. `problem` is a sentence,
    empty when the file is there and looks whole.
    """

    name: str
    path: Path
    problem: str

    @property
    def is_downloadable(self) -> bool:
        """Whether the hub has this model."""
        return self.name in NAMES

    @property
    def size_bytes(self) -> int:
        """The file's size; 0 where there is none."""
        return self.path.stat().st_size if self.path.is_file() else 0


def file_name(model: str) -> str:
    """How the file of one of `NAMES` is called."""
    return f"ggml-{model}.bin"


def locate(model: str) -> ModelFile:
    """Find `model`: a path, or a name such as `base.en`, `turbo` or `ggml-base.bin`.

    Of several files with the same name the first one that looks whole counts. A path needs a
    separator in it, so that no file of the working directory hides a name.
    """
    if os.sep in model or model.startswith("~"):
        # Links stay: their names are those that the user knows.
        path = Path(os.path.abspath(Path(model).expanduser()))  # noqa: PTH100
        problem = find_problem(path) if path.is_file() else f"There is no file {path}."
        return ModelFile(name=str(path), path=path, problem=problem)
    name = model.removeprefix("ggml-").removesuffix(".bin")
    name = _OTHER_NAMES.get(name, name)
    folder = _models_folder()
    candidates = (
        snapshot_folder(REPOSITORY) / file_name(name),
        folder / file_name(name),
        folder / f"{name}.bin",
    )
    present = [(path, find_problem(path)) for path in candidates if path.is_file()]
    absent = (candidates[0], "" if present else _absence(model, name, folder))
    # Whole ones come first, for their problem is the empty one.
    path, problem = min(present, key=lambda found: bool(found[1]), default=absent)
    return ModelFile(name=name, path=path, problem=problem)


def _absence(model: str, name: str, folder: Path) -> str:
    if name in NAMES:
        return f"The model '{name}' is neither in the Hugging Face cache nor in {folder}."
    if close := get_close_matches(name, (*NAMES, *_OTHER_NAMES), n=1):
        return f"whisper.cpp has no model '{model}'; did you mean '{close[0]}'?"
    return f"whisper.cpp has no model '{model}'; it has {', '.join(_QUANTIZED)}."


def _models_folder() -> Path:
    from platformdirs import user_data_dir  # comes with pywhispercpp, which looks there too

    return Path(user_data_dir("pywhispercpp")) / "models"
