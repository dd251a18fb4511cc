"""The plugin API of asrd, and nothing else. See `plugins/README.md`."""

from asrd.abilities import Abilities
from asrd.choices import Setting
from asrd.errors import DecodeCancelled, ModelUnavailable, ProviderError, RequestUnsupported
from asrd.machine import Gpu, Machine
from asrd.providers.settings import read_settings
from asrd.providers.spec import (
    DecodeOptions,
    DecodeRequest,
    Model,
    ModelStatus,
    Provider,
    Register,
    ReportPull,
    Suggestion,
    hookimpl,
)
from asrd.transcript import Hypothesis, Word

__all__ = [
    "Abilities",
    "DecodeCancelled",
    "DecodeOptions",
    "DecodeRequest",
    "Gpu",
    "Hypothesis",
    "Machine",
    "Model",
    "ModelStatus",
    "ModelUnavailable",
    "Provider",
    "ProviderError",
    "Register",
    "ReportPull",
    "RequestUnsupported",
    "Setting",
    "Suggestion",
    "Word",
    "hookimpl",
    "read_settings",
]
