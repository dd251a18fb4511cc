"""Settings: which provider is used how, what is said of each key, and what contradicts what."""

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from asrd import config as config_module
from asrd.choices import Loading, WarmUp
from asrd.config import (
    Concurrency,
    Config,
    Limits,
    Pace,
    ProviderConfig,
    Scheduling,
    Supervision,
    contradictions,
)
from asrd.configuring.schema import meanings_of, tables


def test_a_provider_that_is_not_mentioned_is_used_as_by_default() -> None:
    config = Config(providers={"one": ProviderConfig(warm_up=WarmUp.FULL)})
    assert config.of("one").warm_up is WarmUp.FULL
    assert config.of("other") == ProviderConfig()


def test_the_default_provider_is_loaded_at_the_start_and_others_when_asked_for() -> None:
    config = Config(
        provider="one",
        providers={
            "two": ProviderConfig(loading=Loading.BACKGROUND),
            "three": ProviderConfig(required=True),
        },
    )
    found = {name: config.loading_of(name) for name in ("one", "two", "three", "four")}
    assert found == {
        "one": Loading.EAGER,
        "two": Loading.BACKGROUND,
        "three": Loading.LAZY,
        "four": Loading.LAZY,
    }
    lazy = Config(provider="one", providers={"one": ProviderConfig(loading=Loading.LAZY)})
    assert lazy.loading_of("one") is Loading.LAZY


def test_a_providers_own_fallback_stands_instead_of_the_daemons() -> None:
    config = Config(
        fallback=("a", "b/model"),
        providers={
            "one": ProviderConfig(fallback=("c",)),
            "none": ProviderConfig(fallback=()),
            "unsaid": ProviderConfig(),
        },
    )
    found = [config.fallback_of(name) for name in ("one", "none", "unsaid", "other")]
    assert found == [("c",), (), ("a", "b/model"), ("a", "b/model")]


# ── the keys ──────────────────────────────────────────────────────────────────────────────────


def test_every_key_says_what_it_is_for_in_one_to_three_sentences() -> None:
    found = [(table, key) for table in tables() for key in table.keys]
    assert len(found) > 90
    for table, key in found:
        name = ".".join((*table.path, key.name))
        assert key.meaning.endswith("."), name
        assert 1 <= key.meaning.replace(". ", ".|").count("|") + 1 <= 3, (name, key.meaning)
        assert table.meaning, table.path


def test_every_number_has_a_range_and_a_reason_for_it() -> None:
    numbers = [
        (key.name, key.takes)
        for table in tables()
        for key in table.keys
        if {int, float} & key.takes.types and not key.takes.is_setting
    ]
    assert len(numbers) > 60
    for name, takes in numbers:
        assert takes.low is not None, name
        assert takes.high is not None, name
        assert takes.reason, name


def test_the_meaning_of_a_key_is_what_stands_below_it() -> None:
    assert meanings_of(Config)["provider"].startswith("Serves streams that name none; `auto`")
    assert meanings_of(Config).keys() >= {"model", "fallback", "endpointing_ms"}


def test_the_keys_are_importable_without_what_reads_them() -> None:
    program = "import asrd.config, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert not {b"pydantic", b"pydantic_settings", b"msgspec"} & set(done.stdout.split())


def test_what_needs_a_restart_says_so() -> None:
    """What a reload leaves as it was, see `server.reload`."""
    path = Path(config_module.__file__).parent / "server" / "reload.py"
    (stays,) = [
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "with_what_stays"
    ]
    names = {word.arg for word in ast.walk(stays) if isinstance(word, ast.keyword)}
    told = {
        name
        for table in tables()
        for name in (
            [key.name for key in table.keys if "Needs a restart." in key.meaning]
            + [table.path[-1] for _ in "x" if "Needs a restart." in table.meaning]
        )
    }
    assert told == names - {"providers", "limits", "scheduling", "supervision"}


# ── contradictions ────────────────────────────────────────────────────────────────────────────


def test_the_defaults_contradict_nothing() -> None:
    assert not [*contradictions(Config())]


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (Config(limits=Limits(max_chunk_bytes=2**20)), "limits.max_frame_bytes"),
        (Config(limits=Limits(outbox_soft_bytes=2**19)), "limits.outbox_soft_bytes"),
        (Config(limits=Limits(outboxes_bytes=1)), "limits.outbox_bytes"),
        (
            Config(scheduling=Scheduling(concurrency=Concurrency(min_slots=3, max_slots=2))),
            "scheduling.concurrency.min_slots",
        ),
        (
            Config(scheduling=Scheduling(concurrency=Concurrency(cpu_low=0.7))),
            "scheduling.concurrency.cpu_low",
        ),
        (Config(scheduling=Scheduling(pace=Pace(busy_load=2.0))), "scheduling.pace.busy_load"),
        (Config(supervision=Supervision(first_pause_s=31.0)), "supervision.first_pause_s"),
    ],
)
def test_what_contradicts_another_key_is_told_with_both(config: Config, key: str) -> None:
    (found,) = contradictions(config)
    assert found.key == key
    table = found.other.rpartition(".")[0]
    assert found.other.rpartition(".")[2] in found.sentence or table in found.sentence
    assert found.other != found.key


def test_equal_values_contradict_nothing() -> None:
    limits = replace(Limits(), outbox_soft_bytes=2**18, outboxes_bytes=2**18)
    assert not [*contradictions(Config(limits=limits))]
