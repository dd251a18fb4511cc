"""The configuration file: what it sets, and how each mistake in it is told."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

from asrd import config_file
from asrd.choices import Loading
from asrd.config import Config, ProviderConfig, Residency
from asrd.config_file import EX_CONFIG, EX_NOINPUT, read_config
from asrd.errors import StartupError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def file_with(text: str) -> Path:
        path = tmp_path / "asrd.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return file_with


def refusal(path: Path, code: int = EX_CONFIG) -> str:
    """What is said of a file, which names the file."""
    with pytest.raises(StartupError) as told:
        read_config(path)
    assert told.value.exit_code == code
    assert str(path) in str(told.value)
    return str(told.value).replace(f"{path}: ", "")


def test_the_example_reads_as_it_says(write: Write) -> None:
    assert config_file.__doc__ is not None
    _, _, example = config_file.__doc__.partition("\n\n")
    assert read_config(write(example)) == Config(
        provider="faster_whisper",
        fallback=("moonshine",),
        providers={
            "faster_whisper": ProviderConfig(
                loading=Loading.EAGER, required=True, settings={"compute_type": "int8"}
            )
        },
        residency=Residency(max_models=2),
    )


def test_an_empty_file_is_the_defaults(write: Write) -> None:
    assert read_config(write("")) == Config()


def values(kind: type, table: Any) -> Iterator[tuple[str, Any]]:
    """Every field of a dataclass and of those in it, by its key."""
    for field in dataclasses.fields(kind):
        value = getattr(table, field.name)
        if dataclasses.is_dataclass(value):
            for key, inner in values(type(value), value):
                yield f"{field.name}.{key}", inner
        else:
            yield field.name, value


def test_every_number_can_be_set_and_every_default_is_in_its_range(write: Write) -> None:
    numbers = {
        key: value
        for key, value in values(Config, Config())
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    assert numbers.keys() > {"limits.max_streams", "supervision.hang_factor"}
    text = "\n".join(f"{key} = {value}" for key, value in numbers.items())
    assert read_config(write(text)) == Config()


def test_no_number_may_be_negative(write: Write) -> None:
    for key, value in values(Config, Config()):
        if isinstance(value, int | float):
            assert refusal(write(f"{key} = {-1 if isinstance(value, int) else -1.0}")).startswith(
                f"{key}: expected"
            )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("providr = 'echo'", "there is no providr; did you mean 'provider'?"),
        ("[supervison]\nx = 1", "there is no supervison; did you mean 'supervision'?"),
        ("[residency]\nmax_model = 1", "there is no residency.max_model; did you mean 'max_models"),
        (
            "[providers.echo]\nloadin = 'lazy'",
            "there is no providers.echo.loadin; did you mean 'lo",
        ),
        ("a = 1\nmodl = 'x'", "there is no a; there are provider, model, fallback"),
        ("a = 1\nmodl = 'x'", "; there is no modl; did you mean 'model'?"),
        ("provider = 3", "provider: expected `str`, got `int`"),
        ("fallback = 'echo'", "fallback: expected `array`, got `str`"),
        ("residency = 3", "residency: expected `object`, got `int`"),
        ("providers = 3", "providers: expected `object`, got `int`"),
        ("providers.echo = 3", "providers.echo: expected `object`, got `int`"),
        ("providers.echo.settings = 3", "providers.echo.settings: expected `object`, got `int`"),
        ("providers.echo.settings.a = [1]", "providers.echo.settings.a: expected `bool | int |"),
        ("providers.echo.fallback = [3]", "providers.echo.fallback[0]: expected `str`, got `int`"),
        ("providers.echo.required = 1", "providers.echo.required: expected `bool`, got `int`"),
        (
            "providers.echo.loading = 'eagr'",
            "providers.echo.loading: invalid enum value 'eagr'; there are eager, background, lazy",
        ),
        (
            "providers.echo.warm_up = 'ful'",
            "providers.echo.warm_up: invalid enum value 'ful'; there are none, minimal, standard",
        ),
        ("residency.max_models = 0", "residency.max_models: expected `int` >= 1"),
        ("residency.idle_ttl_s = 0", "residency.idle_ttl_s: expected `float` > 0"),
        ("residency.idle_ttl_s = nan", "residency.idle_ttl_s: expected `float` > 0"),
        (
            "residency.memory_budget = 5",
            "residency.memory_budget: expected `str | null`, got `int`",
        ),
        (
            "residency.memory_budget = '5 gigs'",
            "memory_budget: expected an amount of memory, such as '2GB', '512MiB' or '60%'",
        ),
        ("supervision.hang_factor = 0.5", "supervision.hang_factor: expected `float` >= 1"),
        ("limits.max_utterance_s = 31", "limits.max_utterance_s: expected `float` <= 30"),
        ("scheduling.slots = 0", "scheduling.slots: expected `int` >= 1"),
        ("residency.idle_ttl_s = inf", "residency.idle_ttl_s: expected `float` <= 604800"),
        ("limits.drain_timeout_s = inf", "limits.drain_timeout_s: expected `float` <= 604800"),
        ("limits.live_rate = inf", "limits.live_rate: expected `float` <= 1000"),
        ("supervision.hang_factor = inf", "supervision.hang_factor: expected `float` <= 1000"),
        ("scheduling.ladder.shed_load = inf", "scheduling.ladder.shed_load: expected `float` <= 1"),
        (f"limits.max_connections = {2**63 - 1}", "limits.max_connections: expected `int` <= 28"),
        (f"limits.kept_bytes = {2**70}", "limits.kept_bytes: expected `int` <= 28"),
        ("limits.outbox_bytes = 1", "limits.outbox_bytes: expected `int` >= 65536"),
        ("limits.outbox_soft_bytes = 1", "limits.outbox_soft_bytes: expected `int` >= 4096"),
        ("limits.max_frame_bytes = 10", "limits.max_frame_bytes: expected `int` >= 66560"),
        ("limits.max_chunk_bytes = 10", "limits.max_chunk_bytes: expected `int` >= 1024"),
        (
            "limits.max_chunk_bytes = 1_048_576",
            "limits.max_frame_bytes: a frame must hold a chunk of 1048576 bytes",
        ),
        (
            "limits.outbox_bytes = 65_536\nlimits.outbox_soft_bytes = 65_537",
            "limits.outbox_soft_bytes: expected no more than limits.outbox_bytes",
        ),
        (
            "limits.outboxes_bytes = 65_536",
            "limits.outboxes_bytes: expected no less than limits.outbox_bytes",
        ),
        (
            "[scheduling.concurrency]\nmin_slots = 9\nmax_slots = 2",
            "scheduling.concurrency.min_slots: expected no more than max_slots",
        ),
        (
            f"residency.memory_budget = '{'9' * 400}GB'",
            "memory_budget: expected an amount of memory, such as '2GB', '512MiB' or '60%'",
        ),
    ],
)
def test_a_mistake_is_told_with_file_and_key_and_what_is_right(
    write: Write, text: str, sentence: str
) -> None:
    assert sentence in refusal(write(text))


def test_settings_are_the_providers_own_affair(write: Write) -> None:
    """Only it knows the names; they are checked against it when the daemon starts."""
    read = read_config(write("[providers.echo.settings]\nprovidr = 1\nb = 0.5\nc = true\nd = 'x'"))
    assert read.of("echo").settings == {"providr": 1, "b": 0.5, "c": True, "d": "x"}


@pytest.mark.parametrize("text", ["provider =", "[a\n", "a = 1\na = 2", "\ufeff\x00"])
def test_what_is_not_toml_is_told_with_its_place(write: Write, text: str) -> None:
    assert "is not TOML: " in refusal(write(text))


def test_bytes_that_are_no_text_are_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "asrd.toml"
    path.write_bytes(b"provider = '\xff'")
    assert "is not TOML: " in refusal(path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "cannot read" in refusal(tmp_path, EX_NOINPUT)
    assert "No such file" in refusal(tmp_path / "absent.toml", EX_NOINPUT)


def test_every_enumeration_of_the_configuration_has_its_words_told() -> None:
    """A key that is missing in the list would be a crash instead of a sentence."""
    hints = {**get_type_hints(Config), **get_type_hints(ProviderConfig)}
    for name, kind in config_file.ENUMS.items():
        assert kind in (hints[name], *getattr(hints[name], "__args__", ()))
    document = msgspec.json.schema(Config)
    enums = [name for name, schema in document["$defs"].items() if "enum" in schema]
    assert sorted(enums) == sorted(kind.__name__ for kind in config_file.ENUMS.values())
