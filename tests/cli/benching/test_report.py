"""How what was measured is shown."""

import tomllib
from dataclasses import replace

from asrd.cli.benching.measurements import Measurement
from asrd.cli.benching.report import (
    Chosen,
    Outcome,
    Subject,
    as_json,
    as_text,
    configuration,
    title,
)
from support.measurements import at_speed

SUBJECT = Subject(
    file="speech.wav",
    audio_s=60.0,
    is_cut=False,
    cores=2,
    memory_kind="pss",
    provider="echo",
    model="tiny",
)
WHOLE = Outcome(
    subject=SUBJECT,
    measured=(at_speed(1, 10), at_speed(2, 20)),
    control=at_speed(2, 11, slots=1),
    is_whole=True,
)
HALF = Outcome(subject=SUBJECT, measured=(at_speed(1, 10),))


def test_the_title_says_what_was_read_and_on_what() -> None:
    assert title(SUBJECT) == "echo, model tiny: 60.0 s of speech.wav in each stream, on 2 cores"
    cut = title(replace(SUBJECT, is_cut=True, cores=1))
    assert cut.endswith("the first 60.0 s of speech.wav in each stream, on 1 core")


def test_a_row_for_each_step_and_the_sweet_spot_marked() -> None:
    lines = as_text(WHOLE).splitlines()
    heading, *rows = lines[2:6]
    columns = "STREAMS  SLOTS  USED  SECONDS  SPEED     P50     P95  MEMORY  CORES"
    assert heading == columns
    assert rows[0] == "      1      1   1.0     6.00  10.0x  100 ms  200 ms  300 MB    1.0"
    assert [row.endswith("*") for row in rows] == [False, True, False]
    assert rows[2].split()[:4] == ["2", "1", "1.0", "10.91"]
    assert lines[-2:] == ["[scheduling]", "slots = 2"]
    assert max(map(len, lines)) <= 80


def test_how_memory_is_counted_is_said() -> None:
    assert "PSS, where pages" in as_text(WHOLE)
    assert "(RSS," in as_text(replace(WHOLE, subject=replace(SUBJECT, memory_kind="rss")))


def test_memory_of_a_gpu_has_a_column_where_there_is_some() -> None:
    def on_gpu(measured: Measurement) -> Measurement:
        return replace(measured, gpu_memory_bytes=2_500_000_000)

    assert "GPU" not in as_text(HALF)
    text = as_text(replace(HALF, measured=tuple(map(on_gpu, HALF.measured))))
    assert "2.5 GB" in text
    assert max(map(len, text.splitlines())) <= 80


def test_half_a_measurement_advises_nothing() -> None:
    text = as_text(HALF)
    assert "10.0x" in text
    assert "slots =" not in text
    assert "sweet spot" not in text


def test_a_machine_that_does_other_things_gets_no_advice() -> None:
    busy = tuple(replace(each, other_cores=1.5) for each in WHOLE.measured)
    outcome = replace(WHOLE, measured=busy)
    assert "nothing is advised" in as_text(outcome)
    assert "[scheduling]" not in as_text(outcome)
    told = as_json(outcome)
    assert (told["sweet_spot"], told["slots"], told["configuration"]) == (None, None, None)


def test_the_configuration_is_toml_and_all_that_was_asked_for() -> None:
    settings: Chosen = {
        "echo": {"latency_ms": 5, "is_odd": True, "a name": 'a "b"\n\x7fü', "share": 1e-7}
    }
    subject = replace(SUBJECT, asked_provider="echo", asked_model="/a b/c", asked_settings=settings)
    assert tomllib.loads(configuration(subject, 4)) == {
        "provider": "echo",
        "model": "/a b/c",
        "providers": {"echo": {"settings": settings["echo"]}},
        "scheduling": {"slots": 4},
    }
    assert configuration(SUBJECT, 1) == "[scheduling]\nslots = 1"


def test_json_has_the_same() -> None:
    told = as_json(WHOLE)
    assert [(step["streams"], step["slots"], step["speed"]) for step in told["steps"]] == [
        (1, 1, 10.0),
        (2, 2, 20.0),
    ]
    assert told["control"]["slots"] == 1
    assert (told["sweet_spot"], told["slots"]) == (2, 2)
    assert told["steps"][0]["runs_s"] == (6.0,)


def test_json_of_half_a_measurement_and_of_none() -> None:
    assert as_json(HALF)["slots"] is None
    none = as_json(Outcome(subject=SUBJECT))
    assert (none["steps"], none["control"], none["is_whole"]) == ([], None, False)
