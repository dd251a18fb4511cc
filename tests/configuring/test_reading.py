"""All layers read: which wins, and how each mistake is told."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asrd.choices import Loading
from asrd.config import Config, Limits, ProviderConfig, Residency, Scheduling
from asrd.configuring.layers import Places, Value, Values
from asrd.configuring.reading import Reading, no_flags, read
from asrd.configuring.schema import flat
from asrd.configuring.sources import MAX_FILE_BYTES
from asrd.configuring.words import toml
from asrd.errors import StartupError
from asrd.exit_codes import Exit

EXAMPLE = """
provider = "faster_whisper"
fallback = ["moonshine"]

[providers.faster_whisper]
loading = "eager"
required = true
settings = { compute_type = "int8" }

[residency]
max_models = 2
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A system's and a user's file that are not there yet."""
    return Places(system=tmp_path / "system.toml", user=tmp_path / "user.toml")


ReadText = Callable[..., Reading]


@pytest.fixture
def read_text(places: Places) -> ReadText:
    """Read a file of that text as the user's."""

    def read_it(text: str, **more: Any) -> Reading:
        places.user.write_text(text, encoding="utf-8")
        return read(places, **more)

    return read_it


def refused(act: Callable[[], object], code: int = Exit.CONFIG) -> list[str]:
    """The lines that tell why."""
    with pytest.raises(StartupError) as told:
        act()
    assert told.value.exit_code == code
    assert told.value.__suppress_context__ or told.value.__context__ is None
    return str(told.value).splitlines()


# ── layers ────────────────────────────────────────────────────────────────────────────────────


def test_where_nothing_is_there_everything_is_as_by_default(places: Places) -> None:
    assert read(places) == Reading(config=Config())


def test_the_example_reads_as_it_says(read_text: ReadText) -> None:
    assert read_text(EXAMPLE).config == Config(
        provider="faster_whisper",
        fallback=("moonshine",),
        providers={
            "faster_whisper": ProviderConfig(
                loading=Loading.EAGER, required=True, settings={"compute_type": "int8"}
            )
        },
        residency=Residency(max_models=2),
    )


@pytest.mark.parametrize("text", ["", "[limits]\n", "[providers.echo]\n"])
def test_a_file_that_sets_nothing_is_the_defaults(read_text: ReadText, text: str) -> None:
    assert read_text(text).config == Config()


def test_each_layer_wins_over_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["max_sessions", "max_streams", "kept_bytes", "kept_segments", "max_connections"]
    names = ["system", "user", "given"]
    for level, name in enumerate(names):
        lines = [f"{key} = {level + 1}" for key in keys[level:]]
        (tmp_path / name).write_text("[limits]\n" + "\n".join(lines))
    monkeypatch.setenv("ASRD_LIMITS__KEPT_SEGMENTS", "4")
    monkeypatch.setenv("ASRD_LIMITS__MAX_CONNECTIONS", "4")
    monkeypatch.setenv("ASRD_DEBUG", "1")
    path = ("limits", "max_connections")
    places = Places(**{name: tmp_path / name for name in names})
    found = read(places, lambda _: {path: Value(5, "--flag")})
    limits = found.config.limits
    assert [getattr(limits, key) for key in keys] == [1, 2, 3, 4, 5]
    origins = [found.values["limits", key].origin for key in keys]
    assert origins == [
        *(str(tmp_path / name) for name in names),
        "ASRD_LIMITS__KEPT_SEGMENTS",
        "--flag",
    ]
    assert found.layers == (*(str(tmp_path / name) for name in names), "the environment", "flags")
    assert not found.warnings
    assert limits.outbox_bytes == Limits().outbox_bytes


def test_a_file_that_is_named_and_usual_is_read_once(places: Places) -> None:
    places.user.write_text('provider = "echo"')
    same = Places(system=places.system, user=places.user, given=places.user)
    assert read(same).layers == (str(places.user),)


def test_a_layer_can_take_back_a_limit(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    places.system.write_text('[residency]\nmax_models = 1\nidle_ttl_s = 5\nmemory_budget = "1GB"\n')
    places.user.write_text('[residency]\nmax_models = "none"\nmemory_budget = "none"')
    monkeypatch.setenv("ASRD_RESIDENCY__IDLE_TTL_S", "none")
    assert read(places).config == Config()
    monkeypatch.setenv("ASRD_SCHEDULING__QUEUE_TIMEOUT_S", "none")
    assert read(places).config.scheduling.queue_timeout_s is None


def test_maps_are_merged_by_their_names_too(places: Places) -> None:
    places.system.write_text("[scheduling]\nmax_waiting = { mic = 5, disc = 6 }")
    places.user.write_text("[scheduling.max_waiting]\ndisc = 7")
    waiting = read(places).config.scheduling.max_waiting
    assert waiting == {**Scheduling().max_waiting, "mic": 5, "disc": 7}


@pytest.mark.parametrize(
    ("above", "model"),
    [
        ('provider = "b"', None),
        ('provider = "a"', "m"),
        ('provider = "b"\nmodel = "n"', "n"),
        ('model = "n"', "n"),
        ("", "m"),
    ],
)
def test_a_model_is_one_of_its_provider(places: Places, above: str, model: str | None) -> None:
    places.system.write_text('provider = "a"\nmodel = "m"')
    places.user.write_text(above)
    assert read(places).config.model == model


def test_flags_are_told_which_provider_they_are_for(read_text: ReadText) -> None:
    def flags(configured: str) -> Values:
        return {("providers", configured, "required"): Value(True, "--required")}

    assert read_text('provider = "echo"', flags=flags).config.of("echo").required


def test_flags_alone_go_without_what_reads_files(places: Places) -> None:
    """So that a start without a configuration does not pay for it."""

    def flags(configured: str) -> Values:
        return {
            ("provider",): Value("echo", "--provider"),
            ("providers", configured, "settings", "a"): Value(1, "--option"),
            ("scheduling", "slots"): Value("auto", "--slots"),
            ("scheduling", "ladder", "enabled"): Value(False, "--no-ladder"),
        }

    found = read(places, flags)
    assert found.layers == ("flags",)
    places.user.write_text("")
    assert read(places, flags).config == found.config
    assert found.config.of("moonshine").settings == {"a": 1}


def test_homes_are_put_in_where_a_key_is_a_path(
    read_text: ReadText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/of/it")
    config = read_text('model = "~/m"\n[recording]\ndirectory = "~/r"').config
    assert (config.recording.directory, config.model) == ("/home/of/it/r", "~/m")


# ── files ─────────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_was_named_must_be_there(places: Places, tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"
    named = Places(system=places.system, user=places.user, given=absent)
    (line,) = refused(lambda: read(named), Exit.NO_INPUT)
    assert line == f"cannot read {absent}: No such file or directory"


def test_a_folder_is_no_file(places: Places) -> None:
    places.user.mkdir()
    (line,) = refused(lambda: read(places), Exit.NO_INPUT)
    assert line == f"cannot read {places.user}: Is a directory"


def test_a_file_may_come_from_a_pipe(places: Places) -> None:
    """As with `--config <(...)`."""
    reader, writer = os.pipe()
    os.write(writer, b'provider = "echo"')
    os.close(writer)
    named = Places(system=places.system, user=places.user, given=Path(f"/dev/fd/{reader}"))
    try:
        assert read(named).config.provider == "echo"
    finally:
        os.close(reader)


def test_a_file_has_a_size(places: Places) -> None:
    places.user.write_bytes(b"#" * MAX_FILE_BYTES)
    assert read(places).config == Config()
    places.user.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    (line,) = refused(lambda: read(places), Exit.NO_INPUT)
    assert line == f"{places.user} is larger than {MAX_FILE_BYTES} bytes"


@pytest.mark.parametrize(
    "text",
    [
        b"provider =",
        b"[a\n",
        b"a = 1\na = 2",
        b"\xef\xbb\xbf\x00",
        b"a = '\xff'",
        b"a=" + b"[" * 9999,
    ],
)
def test_what_is_not_toml_is_told_with_its_place(places: Places, text: bytes) -> None:
    places.user.write_bytes(text)
    (line,) = refused(lambda: read(places))
    assert line.startswith(f"{places.user} is not TOML: ")


# ── numbers ───────────────────────────────────────────────────────────────────────────────────


def numbers() -> Iterator[tuple[str, int | float]]:
    for path, value in flat(Config()):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield ".".join(path), value


def test_every_number_can_be_set_and_every_default_is_in_its_range(read_text: ReadText) -> None:
    found = dict(numbers())
    assert found.keys() > {"limits.max_streams", "supervision.hang_factor", "endpointing_ms"}
    text = "\n".join(f"{key} = {toml(value)}" for key, value in found.items())
    assert read_text(text).config == Config()


def test_no_number_may_be_negative_and_all_are_told_at_once(
    read_text: ReadText, places: Places
) -> None:
    text = "\n".join(
        f"{key} = {-1 if isinstance(value, int) else -1.0}" for key, value in numbers()
    )
    lines = refused(lambda: read_text(text))
    assert len(lines) == len(dict(numbers()))
    for line, (key, value) in zip(lines, numbers(), strict=True):
        shown = "-1" if isinstance(value, int) else "-1.0"
        assert line.startswith(f"{places.user}: {key}: {shown} is out of range, ")


# ── mistakes ──────────────────────────────────────────────────────────────────────────────────


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
        ("xyz = 1", "there is no xyz; there are provider, model, fallback"),
        ("Provider = 'echo'", "there is no Provider; did you mean 'provider'?"),
        ("provider = 3", "provider: expected text, not 3"),
        ("provider = 2020-01-01", "provider: expected text, not a date"),
        ("provider = {a = 1}", "provider: expected text, not a table"),
        ("fallback = 'echo'", "fallback: expected a list of text, not 'echo'"),
        ("fallback = [['a']]", "fallback: expected a list of text, not [['a']]"),
        ("residency = 3", "residency: expected a table of keys"),
        ("providers = 3", "providers: expected a table of keys"),
        ("providers.echo = 3", "providers.echo: expected a table of keys"),
        ("providers.echo.settings = 3", "providers.echo.settings: expected a table of keys"),
        ("providers.echo.settings.a = [1]", "providers.echo.settings.a: expected a number, or"),
        ("providers.echo.fallback = [3]", "providers.echo.fallback[0]: expected text, not 3"),
        ("providers.echo.required = 1", "providers.echo.required: expected true or false, not 1"),
        (
            "providers.echo.loading = 'eagr'",
            "providers.echo.loading: 'eagr' is none of eager, background, lazy; did you mean 'ea",
        ),
        (
            "providers.echo.warm_up = 'x'",
            "providers.echo.warm_up: 'x' is none of none, minimal, standard, full",
        ),
        (
            "endpointing_ms = 50",
            "endpointing_ms: 50 is out of range, 100 to 5000: under 100 ms speech is cut into "
            "fragments, over 5000 ms it feels dead",
        ),
        ("endpointing_ms = true", "endpointing_ms: expected a whole number, 100 to 5000, not true"),
        ("endpointing_ms = 500.0", "expected a whole number, 100 to 5000, not 500.0"),
        ("endpointing_ms = '500'", "expected a whole number, 100 to 5000, not '500'"),
        ("endpointing_ms = 'none'", "expected a whole number, 100 to 5000, not 'none'"),
        ("residency.max_models = 0", "residency.max_models: 0 is out of range, 1 to 2^48: none"),
        (
            "residency.max_models = 'x'",
            "residency.max_models: expected a whole number, 1 to 2^48, or",
        ),
        ("residency.idle_ttl_s = 0", "residency.idle_ttl_s: 0 is out of range, above 0 to 604800:"),
        ("residency.idle_ttl_s = nan", "residency.idle_ttl_s: nan is out of range"),
        ("residency.idle_ttl_s = inf", "residency.idle_ttl_s: inf is out of range"),
        ("residency.idle_ttl_s = true", "residency.idle_ttl_s: expected a number, above 0 to 6048"),
        ("residency.memory_budget = 5", "memory_budget: expected an amount of memory such as 2GB"),
        ("residency.memory_budget = '5 gigs'", "or 60%, or \"none\", not '5 gigs'"),
        (f"residency.memory_budget = '{'9' * 400}GB'", f"not '{'9' * 63}..."),
        (
            "supervision.hang_factor = 0.5",
            "supervision.hang_factor: 0.5 is out of range, 1 to 1000",
        ),
        ("supervision.hang_factor = inf", "supervision.hang_factor: inf is out of range"),
        ("supervision.watchdog_s = -1", "supervision.watchdog_s: -1 is out of range, 0 to 604800"),
        ("scheduling.ladder.down_ratio = 1.0", "1.0 is out of range, above 0, below 1: "),
        ("scheduling.slots = 0", 'scheduling.slots: 0 is out of range, 1 to 2^48, or "auto": '),
        (
            "scheduling.slots = 'all'",
            'scheduling.slots: expected a whole number, 1 to 2^48, or "au',
        ),
        ("scheduling.max_waiting.mic = 0", "scheduling.max_waiting.mic: 0 is out of range"),
        ("access.uids = [1, -1]", "access.uids[1]: -1 is out of range, 0 to 2^48"),
        (f"limits.max_connections = {2**63 - 1}", "limits.max_connections: 9223372036854775807 is"),
        (f"limits.kept_bytes = {2**70}", "limits.kept_bytes: 1180591620717411303424 is out of ra"),
        ("limits.outbox_bytes = 1", "limits.outbox_bytes: 1 is out of range, 65536 to 2^48"),
        ("limits.max_frame_bytes = 10", "limits.max_frame_bytes: 10 is out of range, 66560 to "),
        ("limits.max_chunk_bytes = 1_048_576", "limits.max_frame_bytes: a frame must hold a chunk"),
        (
            "[scheduling.concurrency]\nmin_slots = 9\nmax_slots = 2",
            "scheduling.concurrency.min_slots: expected no more than scheduling.concurrency.max",
        ),
    ],
)
def test_a_mistake_is_told_with_place_and_key_and_what_is_right(
    read_text: ReadText, places: Places, text: str, sentence: str
) -> None:
    (line,) = refused(lambda: read_text(text))
    assert line.startswith(f"{places.user}: ")
    assert sentence in line


def test_all_mistakes_are_told_at_once_each_with_its_own_place(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.system.write_text("providr = 1\nendpointing_ms = 5\n[limits]\nmax_chunk_bytes = 1048576")
    places.user.write_text("[residency]\nmax_models = true\nsettings = 1\n")
    monkeypatch.setenv("ASRD_LIMITS__MAX_SESION", "5")
    monkeypatch.setenv("ASRD_LIMITS__MAX_STREAMS", "many")
    monkeypatch.setenv("ASRD_PORT", "tcp://10.0.0.1:80")
    lines = refused(lambda: read(places))
    assert [line.split(" ")[0] for line in lines] == [
        f"{places.system}:",
        f"{places.user}:",
        "ASRD_LIMITS__MAX_SESION:",
        f"{places.system}:",
        f"{places.user}:",
        "ASRD_LIMITS__MAX_STREAMS:",
        f"{places.system}:",
    ]
    assert lines[2].endswith("there is no limits.max_sesion; did you mean 'max_sessions'?")
    assert lines[5].endswith("expected a whole number, 1 to 2^48, not 'many'")
    assert "limits.max_frame_bytes" in lines[6]


def test_a_value_that_is_overruled_is_not_looked_at(places: Places) -> None:
    places.system.write_text("endpointing_ms = 5")
    places.user.write_text("endpointing_ms = 800")
    assert read(places).config.endpointing_ms == 800


def test_settings_are_the_providers_own_affair(read_text: ReadText) -> None:
    """Only it knows the names; they are checked against it when the daemon starts."""
    text = "[providers.echo.settings]\nprovidr = 1\nb = 0.5\nc = true\nd = 'x'\ne = 'none'"
    settings = read_text(text).config.of("echo").settings
    assert settings == {"providr": 1, "b": 0.5, "c": True, "d": "x", "e": "none"}
    assert [type(value) for value in settings.values()] == [int, float, bool, str, str]


# ── secrets ───────────────────────────────────────────────────────────────────────────────────


def test_no_error_tells_a_secret(read_text: ReadText, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("hunter2\n")
    key.chmod(0o600)
    lines = refused(
        lambda: read_text(
            f'[providers.a.settings]\nname = {{ file = "{key}" }}\napi_key = ["hunter2"]\n'
            'token = 2020-01-01\nx.file = "hunter2"\ny = { file = "/a", text = "hunter2" }\n'
            "[limits]\nmax_streams = 0"
        )
    )
    assert len(lines) == 5
    told = "\n".join(line for line in lines if "settings.x" not in line)  # that is a path
    assert "hunter2" not in told


def test_a_secret_is_one_from_then_on(read_text: ReadText, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("hunter2\n")
    key.chmod(0o600)
    found = read_text(f'[providers.a.settings]\nname = {{ file = "{key}" }}')
    assert str(found.config.of("a").settings["name"]) == "***"
    assert "hunter2" not in repr(found)
    assert not found.warnings
    key.chmod(0o604)
    (warning,) = read(Places(system=tmp_path / "none", user=tmp_path / "user.toml")).warnings
    assert "others can read" in warning
    assert "hunter2" not in warning


def test_who_only_looks_reads_no_secret(read_text: ReadText) -> None:
    text = '[providers.a.settings]\nname = { file = "/no/such/file" }'
    assert read_text(text, with_secrets=False).values[
        "providers", "a", "settings", "name"
    ].value == {"file": "/no/such/file"}
    assert refused(lambda: read_text(text))
    assert no_flags("a") == {}
