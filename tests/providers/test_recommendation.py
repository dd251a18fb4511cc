"""Which model suits which machine, on invented machines and with invented providers."""

from collections.abc import Iterable, Mapping

import pytest

from asrd import Gpu, Machine, Model, ModelStatus, Provider, ProviderError, Setting, Suggestion
from asrd.providers.inspection import inspect_machine
from asrd.providers.recommendation import Better, recommend
from asrd.providers.registry import Registered, Registry, discover

GB = 10**9

LAPTOP = Machine(cores=4, memory_bytes=8 * GB, available_bytes=5 * GB)
PI = Machine(cores=1, memory_bytes=1 * GB, available_bytes=7 * GB // 10)
CONTAINER = Machine(cores=0.5, memory_bytes=512 * 2**20, available_bytes=400 * 2**20)
MAC = Machine(cores=8, memory_bytes=16 * GB, available_bytes=10 * GB, is_apple_silicon=True)
SERVER = Machine(
    cores=32,
    memory_bytes=128 * GB,
    available_bytes=120 * GB,
    gpus=(
        Gpu(
            index=0,
            name="busy",
            memory_bytes=24 * GB,
            free_bytes=1 * GB,
            compute_capability=(8, 9),
        ),
        Gpu(
            index=1,
            name="free",
            memory_bytes=24 * GB,
            free_bytes=23 * GB,
            compute_capability=(8, 9),
        ),
    ),
)


class Engine(Provider):
    """Suggests what it was made with; has the models whose names stand in `present`."""

    summary = "An engine"
    default_model = "small"

    def __init__(
        self,
        name: str,
        suggestions: Iterable[Suggestion] | Exception,
        present: Iterable[str] = (),
        remedy: str = "",
    ) -> None:
        self.name = name  # type: ignore[misc]
        self._suggestions = suggestions
        self._present = set(present)
        self._remedy = remedy
        self.machines: list[Machine] = []

    def status(self, model: str) -> ModelStatus:
        is_present = model in self._present
        return ModelStatus(
            model=model, is_present=is_present, remedy="" if is_present else self._remedy
        )

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        raise NotImplementedError

    def suggest(self, machine: Machine) -> Iterable[Suggestion]:
        self.machines.append(machine)
        if isinstance(self._suggestions, Exception):
            raise self._suggestions
        yield from self._suggestions


def suggestion(
    model: str, quality: float, memory_bytes: int = GB // 2, **settings: Setting
) -> Suggestion:
    return Suggestion(
        model=model,
        settings=settings,
        memory_bytes=memory_bytes,
        quality=quality,
        reason=f"It is {model}",
    )


def registry(*engines: Engine) -> Registry:
    return Registry({engine.name: Registered(provider=engine, plugin="p") for engine in engines})


def test_the_best_that_is_here() -> None:
    one = Engine("one", [suggestion("a", 85), suggestion("b", 92, threads=4)], present="ab")
    two = Engine("two", [suggestion("c", 90)], present="c")
    found = recommend(LAPTOP, registry(one, two))
    assert (found.provider, found.model, found.settings) == ("one", "b", {"threads": 4})
    assert found.reason == (
        "The most accurate model that is present and suits this machine: It is b."
    )
    assert found.better is None
    assert found.notes == ()
    assert one.machines == two.machines == [LAPTOP]


def test_of_two_as_good_the_first_provider() -> None:
    engines = [Engine(name, [suggestion("m", 90)], present="m") for name in ("z", "a")]
    assert recommend(LAPTOP, registry(*engines)).provider == "z"


def test_a_better_one_that_is_not_here_is_named_with_its_remedy() -> None:
    here = Engine("here", [suggestion("a", 85)], present="a")
    absent = Engine("absent", [suggestion("b", 95)], remedy="pip install absent")
    plain = Engine("plain", [suggestion("b", 94)])
    found = recommend(LAPTOP, registry(here, absent, plain))
    assert (found.provider, found.model) == ("here", "a")
    assert found.better == Better(provider="absent", model="b", remedy="pip install absent")
    better = recommend(LAPTOP, registry(here, plain)).better
    assert better is not None
    assert better.remedy == "asrd models pull plain/b"


def test_one_as_good_that_is_not_here_is_not_better() -> None:
    absent = Engine("absent", [suggestion("b", 85)])
    here = Engine("here", [suggestion("a", 85)], present="a")
    assert recommend(LAPTOP, registry(absent, here)).better is None


def test_one_without_room_is_neither_chosen_nor_better() -> None:
    engine = Engine("e", [suggestion("big", 98, 6 * GB), suggestion("a", 85)], ["big", "a"])
    found = recommend(LAPTOP, registry(engine))
    assert (found.model, found.better) == ("a", None)
    assert found.notes == ("e/big needs 6.0 GB of memory, 5.0 GB are free",)


@pytest.mark.parametrize(
    ("machine", "memory_bytes", "count"),
    [
        (LAPTOP, GB // 2, 6),  # (5 - 2) / 0.5
        (LAPTOP, 7 * GB // 10, 4),  # 4.28
        (LAPTOP, 4 * GB, 1),  # it runs, though 2 GB are not left beside it
        (LAPTOP, 0, 3 * GB),  # nobody knows: no division by it
        (MAC, 2 * GB, 4),
        (PI, GB // 5, 1),
        (CONTAINER, GB // 5, 1),
    ],
)
def test_how_many_fit(machine: Machine, memory_bytes: int, count: int) -> None:
    engine = Engine("e", [suggestion("a", 85, memory_bytes)], present="a")
    assert recommend(machine, registry(engine)).models_that_fit == count


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"device": "cuda", "device_index": 1}, 7),  # (23 - 2) / 3
        ({"use_gpu": True, "gpu_device": 1}, 7),
        ({"device": "cpu"}, 39),  # (120 - 2) / 3
        ({"use_gpu": False, "gpu_device": 1}, 39),
    ],
)
def test_what_runs_on_a_gpu_is_counted_in_its_memory(
    settings: Mapping[str, Setting], count: int
) -> None:
    engine = Engine("e", [suggestion("a", 95, 3 * GB, **settings)], present="a")
    assert recommend(SERVER, registry(engine)).models_that_fit == count


def test_a_gpu_without_room_leaves_the_model_to_the_processor() -> None:
    suggestions = [suggestion("a", 95, 3 * GB, device="cuda"), suggestion("a", 90, 3 * GB)]
    found = recommend(SERVER, registry(Engine("e", suggestions, present="a")))
    assert found.settings == {}
    assert found.notes == ("e/a needs 3.0 GB of memory, 1.0 GB are free",)


def test_metal_shares_the_machine_s_memory() -> None:
    engine = Engine("e", [suggestion("a", 95, 2 * GB, use_gpu=True)], present="a")
    assert recommend(MAC, registry(engine)).models_that_fit == 4


def test_a_provider_that_raises_is_left_out() -> None:
    bad = Engine("bad", ZeroDivisionError("inside"), present="a")
    found = recommend(LAPTOP, registry(bad, Engine("e", [suggestion("a", 85)], present="a")))
    assert found.provider == "e"
    assert found.notes == ("bad is left out: ZeroDivisionError: inside",)


@pytest.mark.parametrize(
    ("engines", "words"),
    [
        ([], "no provider has a model that suits this machine: see `asrd providers`"),
        ([Engine("e", [])], "no provider has a model"),
        ([Engine("e", OSError("disk"))], r"\(e is left out: OSError: disk\): see"),
        (
            [Engine("e", [suggestion("a", 80), suggestion("b", 90)])],
            "get e/b by `asrd models pull e/b`",
        ),
        (
            [Engine("e", [suggestion("a", 80, 9 * GB), suggestion("b", 90, 50 * GB)], "ab")],
            "no model has room in this machine's memory: e/a needs 9.0 GB of memory, 5.0 GB are",
        ),
    ],
)
def test_nothing_can_run(engines: list[Engine], words: str) -> None:
    with pytest.raises(ProviderError, match=words):
        recommend(LAPTOP, registry(*engines))


def test_the_providers_of_this_installation_agree_on_this_machine() -> None:
    """Whatever they suggest, it comes to one recommendation or to one remedy."""
    found = discover()
    try:
        recommendation = recommend(inspect_machine(), found)
    except ProviderError as error:
        assert "asrd " in str(error)  # noqa: PT017 - either end is right
    else:
        provider = found.providers[recommendation.provider]
        assert provider.status(recommendation.model).is_present
        provider.check_settings(recommendation.settings)
        assert recommendation.models_that_fit >= 1
        assert not any("left out" in note for note in recommendation.notes)
