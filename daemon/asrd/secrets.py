"""Settings that nobody is to read: how they are held, known by their names, and kept out of texts.

A secret is named in the configuration and not written there: `{ file = "/etc/asrd/key" }` or
`{ credential = "key" }`. Once read, it is a `Secret` until a provider is handed its settings.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from asrd.choices import Setting

MASK = "***"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A text whose printed form says nothing."""

    text: str

    def __repr__(self) -> str:
        return MASK


AnySetting = Setting | Secret
"""The value of a provider's own setting, as the configuration holds it."""

_WORDS = frozenset({"key", "token", "secret", "password", "passphrase", "passwd", "apikey"})
_NAMES_OF_DATA = frozenset({"text", "final", "json", "field"})
"""Before `key`: it names a place in what a program prints, and opens no door."""


def is_secret_name(name: str) -> bool:
    """Whether a setting of that name is taken for a secret, however it was written."""
    words = re.split(r"[^a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower())
    if len(words) == 2 and words[0] in _NAMES_OF_DATA and words[1] == "key":
        return False
    return not _WORDS.isdisjoint(words)


def unwrapped(settings: Mapping[str, AnySetting]) -> dict[str, Setting]:
    """What a provider is handed; the one place where secrets become texts again."""
    return {
        key: value.text if isinstance(value, Secret) else value for key, value in settings.items()
    }


def hidden(text: str, settings: Mapping[str, AnySetting]) -> str:
    """A sentence about settings, such as a plugin's, with a mask in place of each secret in it."""
    secrets = [
        value.text if isinstance(value, Secret) else str(value)
        for key, value in settings.items()
        if isinstance(value, Secret) or is_secret_name(key)
    ]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for form in (repr(secret), secret, repr(secret)[1:-1]):
            text = text.replace(form, MASK)
    return text
