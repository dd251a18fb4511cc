"""A model's tokens: the prompts that begin a decode, and texts out of tokens."""

import difflib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

from asrd import RequestUnsupported

MOST_TOKENS = 448
"""What the decoder of every Whisper holds, prompt and text together."""

_MOST_BEFORE = MOST_TOKENS // 2 - 1


class Vocabulary:
    """The tokenizer of one model, with what each decode needs looked up once.

    Nothing in it changes, so threads may share it.
    """

    def __init__(self, tokenizer: Any, *, languages: Sequence[str], is_multilingual: bool) -> None:
        self._tokenizer = tokenizer
        # faster-whisper's list is that of the newest models: older ones know one language less.
        self._languages = [
            code for code in languages if tokenizer.token_to_id(f"<|{code}|>") is not None
        ]
        self._is_multilingual = is_multilingual
        self.tokenizer_for = lru_cache(maxsize=None)(self._tokenizer_for)
        any_tokenizer = self._tokenizer_for("en", "transcribe")
        self.end: int = any_tokenizer.eot
        self.first_timestamp: int = any_tokenizer.timestamp_begin
        self.suppressed: list[int] = list(get_suppressed_tokens(any_tokenizer, [-1]))
        self._before: int = any_tokenizer.sot_prev

    def language(self, asked: str | None) -> str | None:
        """The code of the language that was asked for; None where it is to be detected.

        Raises:
            RequestUnsupported: the model knows no such language.
        """
        if not self._is_multilingual:
            return "en"
        if not asked:
            return None
        code = asked.replace("_", "-").split("-")[0].lower()
        if code not in self._languages:
            close = difflib.get_close_matches(code, self._languages, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "give a code such as 'en'."
            raise RequestUnsupported(f"This Whisper knows no language '{asked}'; {hint}")
        return code

    def preface(self, hotwords: str | None, prompt: str | None) -> list[int]:
        """The tokens of what stands before a transcript: names, and then text said earlier.

        Together they take less than half of what the decoder holds. Names go first, and the end of
        the text before its beginning. What is spelled like a control token is left out: it would
        begin another transcript or end this one.
        """
        names = self._encode(hotwords)[:_MOST_BEFORE]
        earlier = self._encode(prompt)
        kept = earlier[max(0, len(earlier) - (_MOST_BEFORE - len(names))) :]
        return [self._before, *names, *kept] if names or kept else []

    def start(self, language: str, task: str) -> list[int]:
        """The tokens that begin a transcript: always as many for one model."""
        sequence: list[int] = self.tokenizer_for(language, task).sot_sequence
        return sequence

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens spell, without the times among them."""
        text: str = self._tokenizer.decode([token for token in tokens if token < self.end])
        return text

    def _encode(self, text: str | None) -> list[int]:
        text = (text or "").strip()
        ids: list[int] = []
        if text:
            ids = self._tokenizer.encode(f" {text}", add_special_tokens=False).ids
        return [token for token in ids if token < self.end]  # the control tokens stand behind it

    def _tokenizer_for(self, language: str, task: str) -> Any:
        return Tokenizer(self._tokenizer, self._is_multilingual, task=task, language=language)
