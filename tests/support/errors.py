"""Word error rate, counted on words alone: no case, no punctuation."""

import re
from collections.abc import Iterable

import jiwer


def plain_words(text: str) -> str:
    """Lower case, hyphens as blanks, letters, digits and apostrophes only."""
    return " ".join(re.sub(r"[^a-z0-9' ]+", " ", text.lower().replace("-", " ")).split())


def count_word_errors(pairs: Iterable[tuple[str, str]]) -> tuple[int, int]:
    """Errors, and reference words, of all (reference, hypothesis) pairs."""
    errors = words = 0
    for reference, hypothesis in pairs:
        plain = plain_words(reference)
        found = jiwer.process_words(plain, plain_words(hypothesis))
        errors += found.substitutions + found.deletions + found.insertions
        words += len(plain.split())
    return errors, words


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Errors over reference words, summed over all (reference, hypothesis) pairs."""
    references, hypotheses = zip(*pairs, strict=True)
    rate: float = jiwer.wer(
        [plain_words(text) for text in references], [plain_words(text) for text in hypotheses]
    )
    return rate
