"""Where ggml models lie on disk: pywhispercpp's own folder, or any path."""

import os
import re
from pathlib import Path

_NAME = re.compile(
    r"((tiny|base|small|medium)(\.en)?|large-v[123]|large-v3-turbo)(-q[58]_[01])?", re.ASCII
)


def locate(model: str) -> Path:
    """Where the file of `model` is, or would be: a path, or a name such as `base.en`."""
    path = Path(model).expanduser()
    if path.is_absolute() or os.sep in model:
        return path
    folder = _models_folder()
    candidates = (folder / f"ggml-{model}.bin", folder / f"{model}.bin", folder / model)
    return next((file for file in candidates if file.is_file()), candidates[0])


def is_downloadable(model: str) -> bool:
    """Whether `model` looks like one that pywhispercpp's downloader knows."""
    return _NAME.fullmatch(model) is not None


def _models_folder() -> Path:
    from platformdirs import user_data_dir  # comes with pywhispercpp, which looks there too

    return Path(user_data_dir("pywhispercpp")) / "models"
