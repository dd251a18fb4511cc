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
    StreamingModel,
    Suggestion,
    UtteranceReader,
    hookimpl,
)
from asrd.transcript import Boundary, Hypothesis, Word

__all__ = [
    "Abilities",
    "Boundary",
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
    "StreamingModel",
    "Suggestion",
    "UtteranceReader",
    "Word",
    "hookimpl",
    "read_settings",
]
