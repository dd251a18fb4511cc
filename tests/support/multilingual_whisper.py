"""The twenty-word Whisper with the vocabulary of the multilingual ones.

Its languages and tasks are random, so what it reads depends on them and means little.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TINY_WHISPER = Path(__file__).parent.parent / "tiny_whisper"
LANGUAGES = ("en", "zh", "de", "es", "ru", "ko", "fr", "ja")
FIRST_LANGUAGE, TASKS = 50259, (50358, 50359)
LAYOUT = {
    "EOT": 50257,
    "SOT": 50258,
    "SOT_PREV": 50361,
    "NO_SPEECH": 50362,
    "NO_TIMESTAMPS": 50363,
    "TIMESTAMP_BEGIN": 50364,
    "N_VOCAB": 51865,
}


def write_multilingual(folder: Path) -> None:
    """Write it in CTranslate2's format."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TINY_WHISPER))
        others = {name: sys.modules.pop(name, None) for name in ("layout", "expand")}
        layout: Any = __import__("layout")
        for name, value in LAYOUT.items():
            setattr(layout, name, value)
        layout.TRAINED_IDS = [
            *layout.WORD_IDS.values(),
            *(getattr(layout, name) for name in ("BLANK", "EOT", "SOT", "SOT_PREV")),
            *(getattr(layout, name) for name in ("NO_SPEECH", "NO_TIMESTAMPS")),
        ]
        expand: Any = __import__("expand")
        weights = expand.load_weights(TINY_WHISPER / "tiny_whisper.npz")
        tokens, merges = expand.build_vocabulary()
        tokens[FIRST_LANGUAGE : FIRST_LANGUAGE + len(LANGUAGES)] = [
            f"<|{language}|>" for language in LANGUAGES
        ]
        tokens[layout.EOT - 1] = ""  # CTranslate2 tells the multilingual ones by it
        expand.build_vocabulary = lambda: (tokens, merges)
        random = np.random.default_rng(0)
        embedding = weights["decoder.token_embedding.weight"]
        changed = [*range(FIRST_LANGUAGE, FIRST_LANGUAGE + len(LANGUAGES)), *TASKS]
        embedding[changed] = 0.5 * random.standard_normal((len(changed), embedding.shape[1]))
        expand.write_ctranslate2(weights, folder)
        for name, other in others.items():  # what was changed is nobody else's
            del sys.modules[name]
            if other is not None:
                sys.modules[name] = other
    config = json.loads((folder / "config.json").read_text())
    config["lang_ids"] = changed[: len(LANGUAGES)]
    (folder / "config.json").write_text(json.dumps(config))
