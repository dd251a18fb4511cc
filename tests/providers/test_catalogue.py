"""Which model is meant by what was asked for, and what takes over from it."""

import traceback
from typing import Any

import pytest
from structlog.testing import capture_logs

from asrd.choices import Loading, WarmUp
from asrd.config import Concurrency, Config, ProviderConfig, Scheduling
from asrd.errors import ModelUnavailable, ProviderError
from asrd.providers import calls
from asrd.providers import catalogue as module
from asrd.providers.catalogue import Catalogue, ModelKey, decodes_at_most
from asrd.providers.registry import Registry, UnknownProvider, discover
from asrd.providers.residency import Footprint
from asrd.providers.spec import Provider
from asrd.secrets import Secret
from support.workers import UNRULY

ECHO = ModelKey(provider="echo", model="echo")
PICKY = ModelKey(provider="picky", model="fine")
FINE = ModelKey(provider="unruly", model="fine")
SLOW = ModelKey(provider="unruly", model="slow")


@pytest.fixture(scope="module")
def registry() -> Registry:
    registry = discover()
    registry.add(UNRULY)
    registry.add("support.picky")
    registry.add("support.able")
    registry.broken["wrecked"] = "ImportError: libwrecked.so"
    return registry


def catalogue_of(registry: Registry, **config: Any) -> Catalogue:
    return Catalogue(registry, Config(**{"provider": "echo", **config}))


# ── names ─────────────────────────────────────────────────────────────────────────────────────


def test_names_that_are_left_out_are_the_defaults(registry: Registry) -> None:
    catalogue = catalogue_of(registry, provider="unruly", model="slow")
    assert catalogue.key(None, None) == SLOW
    assert catalogue.key("unruly", None) == SLOW
    assert catalogue.key(None, "fine") == FINE
    assert catalogue.key("echo", None) == ECHO  # the default model is unruly's alone
    assert str(ECHO) == "echo/echo"
    assert {"echo", "unruly", "picky", "moonshine"} <= set(catalogue.names)


def test_auto_stands_for_the_daemons_own_provider(registry: Registry) -> None:
    catalogue = catalogue_of(registry, provider="unruly", model="slow")
    assert catalogue.key("auto", None) == SLOW
    assert catalogue.key("auto", "fine") == FINE
    assert catalogue.chain("auto", None) == (SLOW,)


def test_two_names_of_the_same_weights_are_one_model(registry: Registry) -> None:
    catalogue = catalogue_of(registry)
    assert catalogue.key("picky", "good") == catalogue.key("picky", "fine") == PICKY
    assert hash(catalogue.key("picky", "good")) == hash(PICKY)


def test_a_model_with_other_settings_is_another_model(registry: Registry) -> None:
    one, two, three = (
        catalogue_of(registry, providers={"unruly": ProviderConfig(settings=settings)})
        for settings in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1})
    )
    assert one.key("unruly", None) == two.key("unruly", None) != three.key("unruly", None)
    assert one.key("unruly", None).settings == (("a", 1), ("b", 2))


def test_a_model_that_is_not_here_is_told_with_the_command_that_gets_it(
    registry: Registry,
) -> None:
    catalogue = catalogue_of(registry)
    with pytest.raises(ModelUnavailable) as told:
        catalogue.key("picky", "absent")
    assert str(told.value) == "picky has not got 'absent': asrd models pull picky/absent"
    with pytest.raises(ModelUnavailable, match=r"no 'other'\.$"):
        catalogue.key("echo", "other")
    with pytest.raises(UnknownProvider, match="did you mean 'echo'"):
        catalogue.key("ech", None)


@pytest.mark.parametrize("model", ["~nobody-of-this-name/x", "/\0", "/" + "x" * 300, "/\ud800"])
@pytest.mark.parametrize("provider", ["moonshine", "faster_whisper", "whisper_cpp"])
def test_a_strange_name_of_a_model_is_told_and_never_a_crash(
    registry: Registry, provider: str, model: str
) -> None:
    with pytest.raises(ModelUnavailable):
        catalogue_of(registry).key(provider, model)


# ── chains ────────────────────────────────────────────────────────────────────────────────────


def test_without_a_fallback_there_is_what_was_asked_for(registry: Registry) -> None:
    assert catalogue_of(registry).chain("unruly", "slow") == (SLOW,)


def test_a_chain_is_what_was_asked_for_and_then_the_fallbacks_in_order(registry: Registry) -> None:
    catalogue = catalogue_of(registry, fallback=("unruly/slow", "picky"))
    assert catalogue.chain(None, None) == (ECHO, SLOW, PICKY)
    assert catalogue.chain("unruly", "fine") == (FINE, SLOW, PICKY)
    assert catalogue.chain("unruly", "slow") == (SLOW, PICKY)  # nothing takes over from itself
    assert catalogue.chain("picky", "good") == (PICKY, SLOW)


def test_a_providers_own_fallback_is_its_chain(registry: Registry) -> None:
    providers = {"unruly": ProviderConfig(fallback=("echo",)), "picky": ProviderConfig(fallback=())}
    catalogue = catalogue_of(registry, fallback=("picky",), providers=providers)
    assert catalogue.chain("unruly", None) == (FINE, ECHO)
    assert catalogue.chain("picky", None) == (PICKY,)
    assert catalogue.chain("echo", None) == (ECHO, PICKY)


def test_what_is_missing_keeps_its_place_in_the_chain(registry: Registry) -> None:
    catalogue = catalogue_of(registry, fallback=("picky/absent", "unruly", "echo/other"))
    assert catalogue.chain(None, None) == (ECHO, None, FINE, None)
    assert catalogue.chain("picky", "gone") == (None, None, FINE, None)


def test_where_nothing_is_here_what_was_asked_for_is_told(registry: Registry) -> None:
    catalogue = catalogue_of(registry, fallback=("echo/other", "nobody"))
    with pytest.raises(ModelUnavailable, match="picky has not got 'gone'"):
        catalogue.chain("picky", "gone")


def test_a_fallback_whose_plugin_is_broken_is_missing_and_disturbs_no_other(
    registry: Registry,
) -> None:
    catalogue = catalogue_of(registry, fallback=("wrecked", "unruly"))
    catalogue.check()
    assert catalogue.chain(None, None) == (ECHO, None, FINE)


def test_a_chain_for_a_provider_that_nobody_brings_is_refused(registry: Registry) -> None:
    catalogue = catalogue_of(registry, fallback=("unruly",))
    with pytest.raises(UnknownProvider, match="did you mean 'picky'"):
        catalogue.chain("pick", None)
    with pytest.raises(UnknownProvider, match=r"broken: ImportError: libwrecked\.so"):
        catalogue.chain("wrecked", None)


# ── what the configuration says ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ({"provider": "ecko"}, UnknownProvider, "no provider 'ecko'; did you mean 'echo'?"),
        ({"fallback": ("unruly", "pickey/fine")}, UnknownProvider, "did you mean 'picky'?"),
        ({"providers": {"moonshin": ProviderConfig()}}, UnknownProvider, "mean 'moonshine'?"),
        (
            {"providers": {"echo": ProviderConfig(fallback=("unruli",))}},
            UnknownProvider,
            "did you mean 'unruly'?",
        ),
        (
            {"providers": {"echo": ProviderConfig(settings={"latency": 1})}},
            ProviderError,
            "echo has no setting 'latency'; did you mean 'latency_ms'?",
        ),
        (
            {"providers": {"picky": ProviderConfig(settings={"strictnes": 1})}},
            ProviderError,
            "picky has no setting 'strictnes'; did you mean 'strictness'?",
        ),
    ],
)
def test_what_the_configuration_gets_wrong_is_told_with_the_nearest(
    registry: Registry, config: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as told:
        catalogue_of(registry, **config).check()
    assert message in str(told.value)


def test_a_configuration_that_is_right_passes(registry: Registry) -> None:
    providers = {
        "echo": ProviderConfig(settings={"latency_ms": 5}, fallback=("picky/absent",)),
        "wrecked": ProviderConfig(settings={"anything": 1}),
    }
    catalogue_of(registry, providers=providers, fallback=("unruly/slow",)).check()


# ── what is loaded ────────────────────────────────────────────────────────────────────────────


def test_what_is_loaded_first_is_the_default_and_what_is_not_lazy(registry: Registry) -> None:
    providers = {
        "unruly": ProviderConfig(loading=Loading.BACKGROUND, models=("slow", "fine")),
        "picky": ProviderConfig(),
    }
    assert catalogue_of(registry, providers=providers).first_to_load() == {
        ECHO: Loading.EAGER,
        SLOW: Loading.BACKGROUND,
        FINE: Loading.BACKGROUND,
    }
    lazy = {"echo": ProviderConfig(loading=Loading.LAZY)}
    assert catalogue_of(registry, providers=lazy).first_to_load() == {}


@pytest.mark.parametrize("name", ["picky", "wrecked"])
def test_what_is_missing_is_left_out_unless_it_is_required(registry: Registry, name: str) -> None:
    use: dict[str, Any] = {"loading": Loading.EAGER, "models": ("absent",)}
    spared = catalogue_of(registry, providers={name: ProviderConfig(**use)})
    assert spared.first_to_load() == {ECHO: Loading.EAGER}
    needed = catalogue_of(registry, providers={name: ProviderConfig(**use, required=True)})
    with pytest.raises((ModelUnavailable, UnknownProvider), match=r"'absent': asrd|libwrecked"):
        needed.first_to_load()


def test_the_call_that_loads_carries_how_the_provider_is_used(registry: Registry) -> None:
    use = ProviderConfig(warm_up=WarmUp.FULL, settings={"deed": "refuse"})
    catalogue = catalogue_of(registry, providers={"unruly": use})
    assert catalogue.load_call(catalogue.key("unruly", "slow"), 7) == calls.LoadModel(
        id=7,
        plugin=UNRULY,
        provider="unruly",
        model="slow",
        settings={"deed": "refuse"},
        warm_up=WarmUp.FULL,
    )


def test_a_model_is_at_least_as_large_as_its_files(registry: Registry) -> None:
    catalogue = catalogue_of(registry)
    assert catalogue.size(PICKY) == Footprint(memory_bytes=12_000_000)
    assert catalogue.size(ECHO) == Footprint()


def test_a_model_is_as_large_as_its_provider_says_of_its_settings(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = registry.get("able").provider

    def size_bytes(self: Provider, model: str, settings: dict[str, Any]) -> int:
        return int(settings["decodes_at_once"]) * len(model)

    monkeypatch.setattr(type(able), "size_bytes", size_bytes, raising=False)
    catalogue = catalogue_of(registry, scheduling=Scheduling(slots=3))
    assert catalogue.size(catalogue.key("able", None)) == Footprint(memory_bytes=3 * len("able"))


@pytest.mark.parametrize("answer", ["much", None, 1.5])
def test_a_plugin_that_cannot_say_how_large_a_model_is_is_judged_by_its_files(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    picky = registry.get("picky").provider
    monkeypatch.setattr(type(picky), "size_bytes", lambda self, model, settings: answer)
    with capture_logs() as logged:
        assert catalogue_of(registry).size(PICKY) == Footprint(memory_bytes=12_000_000)
    assert [line["event"] for line in logged] == ["size_unknown"]


# ── decodes side by side ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scheduling", "own", "decodes"),
    [
        ({}, {}, 1),
        ({"slots": 4}, {}, 4),
        ({"slots": 4}, {"max_decodes": 2}, 2),
        ({"slots": 4}, {"max_decodes": 9}, 4),
        ({"slots": "auto"}, {}, 6),
        ({"slots": "auto"}, {"max_decodes": 5}, 5),
        ({"slots": "auto", "concurrency": Concurrency(max_slots=3)}, {}, 3),
        ({"slots": "auto", "concurrency": Concurrency(max_slots=30)}, {}, 30),
        ({"slots": "auto", "concurrency": Concurrency(min_slots=8)}, {}, 8),
        ({"slots": 4, "group_slots": {"gpu": 2}}, {}, 4),
        ({"slots": 4, "group_slots": {"gpu": 2}}, {"device_group": "gpu"}, 2),
        ({"slots": "auto", "group_slots": {"gpu": 7}}, {"device_group": "gpu"}, 7),
        ({"slots": 4, "group_slots": {"gpu": 2}}, {"device_group": "npu"}, 1),
    ],
)
def test_how_many_decodes_of_a_provider_run_at_a_time_follows_from_the_configuration(
    scheduling: dict[str, Any], own: dict[str, Any], decodes: int
) -> None:
    config = Config(
        provider="echo",
        providers={"able": ProviderConfig(**own)},
        scheduling=Scheduling(**scheduling),
    )
    assert decodes_at_most(config, "able", cores=6) == decodes


def test_settings_are_spread_over_the_decodes_that_run_side_by_side(registry: Registry) -> None:
    def settings(slots: Any, provider: str = "able", **own: Any) -> tuple[tuple[str, Any], ...]:
        catalogue = catalogue_of(
            registry,
            scheduling=Scheduling(slots=slots),
            providers={provider: ProviderConfig(settings=own)},
        )
        return catalogue.key(provider, None).settings

    assert settings(1) == ()  # nothing to spread over
    assert settings(3) == (("decodes_at_once", 3),)
    assert settings(3, max_batch=2) == (("decodes_at_once", 3), ("max_batch", 2))
    assert settings(3, decodes_at_once=2) == (("decodes_at_once", 2),)  # the user's own stays
    assert settings(3, "picky", strictness=2) == (("strictness", 2),)


def test_slots_that_move_by_themselves_are_spread_over_the_cores(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 12)
    catalogue = catalogue_of(registry, scheduling=Scheduling(slots="auto"))
    assert catalogue.key("able", None).settings == (("decodes_at_once", 12),)


@pytest.mark.parametrize("spread", [None, {"decodes_at_once": [1]}, {"a": None}, {1: 2}, "text"])
def test_a_plugin_that_cannot_spread_its_settings_is_run_with_the_users(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, spread: Any
) -> None:
    able = registry.get("able").provider
    monkeypatch.setattr(type(able), "spread", lambda self, settings, decodes: spread)
    own = ProviderConfig(settings={"max_batch": 2})
    catalogue = catalogue_of(
        registry, scheduling=Scheduling(slots=4), providers={"able": own, "echo": own}
    )
    with capture_logs() as logged:
        for _ in range(3):
            assert catalogue.key("able", None).settings == (("max_batch", 2),)
    assert [line["event"] for line in logged] == ["settings_not_spread"]


def test_a_plugin_that_raises_while_it_spreads_costs_nobody_a_model(registry: Registry) -> None:
    own = ProviderConfig(settings={"bad_at_spread": True})
    catalogue = catalogue_of(registry, scheduling=Scheduling(slots=4), providers={"able": own})
    assert catalogue.key("able", None).settings == (("bad_at_spread", True),)


def test_settings_are_spread_once_for_all_models_of_a_provider(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def spread(self: Provider, settings: Any, decodes: int) -> Any:
        asked.append(decodes)
        return {**settings, "decodes_at_once": decodes}

    for name in ("able", "picky"):
        monkeypatch.setattr(type(registry.get(name).provider), "spread", spread)
    catalogue = catalogue_of(registry, scheduling=Scheduling(slots=4))
    found = [catalogue.key("picky", name).settings for name in ("fine", "good", "fine")]
    assert found == [(("decodes_at_once", 4),)] * 3
    assert asked == [4]
    catalogue.key("able", None)
    assert asked == [4, 4]


def test_a_provider_on_another_machine_is_not_spread(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = registry.get("able").provider
    assert not Provider.is_remote
    monkeypatch.setattr(type(able), "is_remote", True)
    catalogue = catalogue_of(registry, scheduling=Scheduling(slots=4))
    assert catalogue.key("able", None).settings == ()


# ── GPUs ──────────────────────────────────────────────────────────────────────────────────────


def test_who_wants_a_gpu_says_so_for_his_settings(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = registry.get("able").provider
    catalogue = catalogue_of(registry, providers={"able": ProviderConfig(settings={"gpu": True})})
    assert not catalogue.wants_gpu(catalogue.key("able", None))  # the default of every provider
    monkeypatch.setattr(type(able), "wants_gpu", lambda self, settings: settings == {"gpu": True})
    assert catalogue.wants_gpu(catalogue.key("able", None))
    assert not catalogue.wants_gpu(ModelKey(provider="able", model="able"))
    monkeypatch.setattr(type(able), "is_remote", True)  # whose GPU is not this machine's
    assert not catalogue.wants_gpu(catalogue.key("able", None))


def test_a_plugin_that_fails_at_the_question_wants_no_gpu(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = registry.get("able").provider
    monkeypatch.setattr(type(able), "wants_gpu", lambda self: True)  # takes no settings
    catalogue = catalogue_of(registry)
    with capture_logs() as logged:
        assert catalogue.wants_gpu(catalogue.key("able", None)) is False
    assert [line["event"] for line in logged] == ["gpu_wish_unknown"]


def test_another_configuration_gives_other_keys_for_the_same_names(registry: Registry) -> None:
    catalogue = catalogue_of(registry)
    key = catalogue.key(None, None)
    assert catalogue.is_current(key)
    changed = ProviderConfig(settings={"latency_ms": 7})
    catalogue.apply(Config(provider="echo", providers={"echo": changed}))
    assert not catalogue.is_current(key)
    assert dict(catalogue.key(None, None).settings) == {"latency_ms": 7}
    assert catalogue.is_current(catalogue.key(None, None))


# ── secrets ───────────────────────────────────────────────────────────────────────────────────

SECRET = ProviderConfig(settings={"strictness": Secret("hunter2")})


def test_a_provider_is_handed_secrets_as_texts(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To whatever it is asked with its settings."""
    handed: list[Any] = []

    def size(given: Any) -> int:
        handed.append(given)
        return 7

    picky = type(registry.get("picky").provider)
    monkeypatch.setattr(picky, "check_settings", lambda self, given: handed.append(given))
    monkeypatch.setattr(picky, "size_bytes", lambda self, _, given: size(given))
    monkeypatch.setattr(picky, "wants_gpu", lambda self, given: handed.append(given))
    catalogue = catalogue_of(registry, providers={"picky": SECRET})
    catalogue.check()
    key = catalogue.key("picky", None)
    catalogue.size(key)
    catalogue.wants_gpu(key)
    call = catalogue.load_call(key, 1)
    assert isinstance(call, calls.LoadModel)
    assert [*handed, call.settings] == [{"strictness": "hunter2"}] * 4
    assert "hunter2" not in repr(key)
    assert catalogue.is_current(key)


def test_what_a_plugin_says_of_a_secret_is_masked(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = catalogue_of(registry, providers={"picky": SECRET}, scheduling=Scheduling(slots=4))
    with pytest.raises(ProviderError) as told:
        catalogue.check()
    assert str(told.value) == ("The picky setting 'strictness' must be a whole number, not ***.")
    assert "hunter2" not in "".join(traceback.format_exception(told.value))

    def fail(*given: Any) -> None:
        raise RuntimeError(f"no {given[1:]!r}")

    picky = type(registry.get("picky").provider)
    for name in ("spread", "size_bytes", "wants_gpu"):
        monkeypatch.setattr(picky, name, fail)
    with capture_logs() as lines:
        key = catalogue.key("picky", None)
        catalogue.size(key)
        catalogue.wants_gpu(key)
    events = ["settings_not_spread", "size_unknown", "gpu_wish_unknown"]
    assert [line["event"] for line in lines] == events
    assert all("***" in line["problem"] and "hunter2" not in str(line) for line in lines)


def test_every_provider_with_a_mistake_is_told(registry: Registry) -> None:
    wrong = ProviderConfig(settings={"strictnes": 1})
    catalogue = catalogue_of(registry, provider="ecko", providers={"picky": wrong})
    with pytest.raises(ProviderError) as told:
        catalogue.check()
    first, second = str(told.value).splitlines()
    assert "did you mean 'echo'?" in first
    assert "did you mean 'strictness'?" in second
