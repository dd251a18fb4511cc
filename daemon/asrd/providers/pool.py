"""The models that are loaded, each in a worker of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from asrd.config import Setting
from asrd.errors import ModelUnavailable
from asrd.providers import calls
from asrd.providers.registry import Registry
from asrd.providers.resident import ModelState, Resident


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKey:
    """Which model of which provider."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class ModelPool:
    """Loads models when they are first asked for and keeps them.

    `on_change` is called with a key when its model becomes able or unable to take work.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        default_provider: str,
        default_model: str | None,
        settings: Mapping[str, Mapping[str, Setting]],
        on_change: Callable[[ModelKey], None],
    ) -> None:
        self._registry = registry
        self._default_provider = default_provider
        self._default_model = default_model
        self._settings = settings
        self._on_change = on_change
        self._residents: dict[ModelKey, Resident] = {}
        self._is_stopped = False

    def resolve(self, provider: str | None, model: str | None) -> ModelKey:
        """The key for what was asked, with the defaults filled in.

        Raises:
            UnknownProvider: no plugin brings it.
            ModelUnavailable: the model is not here; the text names the command that gets it.
        """
        name = provider or self._default_provider
        entry = self._registry.get(name)
        if model is None and name == self._default_provider:
            model = self._default_model
        model = model or entry.provider.default_model
        status = entry.status(model)
        if not status.is_present:
            remedy = f": {status.remedy}" if status.remedy else ""
            raise ModelUnavailable(f"{status.problem}{remedy}")
        return ModelKey(provider=name, model=model)

    def resident(self, key: ModelKey) -> Resident:
        """The model's resident, made (not yet started) when there is none."""
        if key not in self._residents:
            plugin = self._registry.get(key.provider).plugin
            settings = dict(self._settings.get(key.provider, {}))

            def make_load(call_id: int) -> calls.AnyCall:
                return calls.LoadModel(
                    id=call_id,
                    plugin=plugin,
                    provider=key.provider,
                    model=key.model,
                    settings=settings,
                )

            self._residents[key] = Resident(str(key), make_load, lambda: self._on_change(key))
        return self._residents[key]

    @property
    def residents(self) -> dict[ModelKey, Resident]:
        """Every model that was ever asked for and not unloaded."""
        return dict(self._residents)

    def need(self, key: ModelKey) -> None:
        """Work has come for this model: load it again if it was unloaded meanwhile."""
        if key not in self._residents and not self._is_stopped:
            self.resident(key).begin()

    def takes_work(self, key: ModelKey) -> bool:
        """Whether a decode given to this model is answered without waiting for a load.

        A model that cannot be brought back answers too: with its failure, at once, so that no
        stream waits for ever.
        """
        resident = self._residents.get(key)
        return resident is not None and resident.state is not ModelState.STARTING

    async def unload(self, key: ModelKey) -> None:
        """End the model's worker, if it has one; the next who needs it loads it again."""
        resident = self._residents.pop(key, None)
        if resident is not None:
            await resident.stop()

    async def stop(self) -> None:
        """End every worker, for good."""
        self._is_stopped = True
        for key in list(self._residents):
            await self.unload(key)
