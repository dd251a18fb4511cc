"""Which models are worth a line."""

from collections.abc import Iterator
from dataclasses import dataclass

from asrd.cli.figures import as_amount, as_words
from asrd.wire.messages import Health
from asrd.wire.reports import ModelHealth, ProviderHealth


@dataclass(frozen=True, slots=True)
class ToldModel:
    """A model by its provider's name and its own, its state in words, and what is special about it,
    if anything is."""

    name: str
    model: ModelHealth
    state: str
    note: str = ""


def told_models(health: Health) -> Iterator[ToldModel]:
    """Every model that has a worker, the default provider's first and voice activity last.

    Of a provider that somebody relies on, and that has none, the one that would be loaded is told.
    """
    for name, provider in sorted(
        health.providers.items(), key=lambda each: (not each[1].is_default, each[0])
    ):
        for model in provider.models:
            yield ToldModel(
                _name(name, model), model, as_words(model.state), _note(provider, model)
            )
        if not provider.models and (provider.is_default or provider.is_required):
            yield _would_be(name, provider)
    if health.voice_activity is not None:
        voice = health.voice_activity
        yield ToldModel("voice activity", voice, as_words(voice.state), voice.problem)


def _would_be(name: str, provider: ProviderHealth) -> ToldModel:
    model = ModelHealth(model=provider.model, state=provider.state, problem=provider.problem)
    if provider.is_loadable:
        return ToldModel(_name(name, model), model, "not loaded")
    return ToldModel(_name(name, model), model, as_words(model.state), provider.problem)


def _name(provider: str, model: ModelHealth) -> str:
    return provider if model.model == provider else f"{provider}/{model.model}"


def _note(provider: ProviderHealth, model: ModelHealth) -> str:
    if model.problem:
        return model.problem
    if provider.breaker != "closed":
        return f"breaker {as_words(provider.breaker)}"
    return as_amount(model.restarts, "restart") if model.restarts else ""
