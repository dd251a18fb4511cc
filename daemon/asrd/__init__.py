"""The plugin API of asrd, and nothing else. See `plugins/README.md`."""

from asrd.config import Setting
from asrd.errors import ModelUnavailable, ProviderError
from asrd.providers.settings import read_settings
from asrd.providers.spec import (
    DecodeOptions,
    Model,
    ModelStatus,
    Provider,
    Register,
    hookimpl,
)
from asrd.transcript import Hypothesis, Word

__all__ = [
    "DecodeOptions",
    "Hypothesis",
    "Model",
    "ModelStatus",
    "ModelUnavailable",
    "Provider",
    "ProviderError",
    "Register",
    "Setting",
    "Word",
    "hookimpl",
    "read_settings",
]
