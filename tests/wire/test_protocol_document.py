"""The published protocol and the code say the same: types, keys, defaults, codes, examples."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from asrd.config import LadderRule, Limits, Pace, Scheduling
from asrd.errors import ErrorCode
from asrd.providers.registry import discover
from asrd.scheduler.ladder import Step, level_of
from asrd.scheduler.measures import KEPT_VALUES
from asrd.scheduler.preemption import URGENT_PRIORITY, YIELDING_PRIORITY
from asrd.server.served import FALLBACK_LEVEL
from asrd.server.streams_report import MAX_NAME_BYTES, MAX_STREAMS_TOLD
from asrd.session.effects import DropReason
from asrd.wire.codec import MAX_NESTED_ITEMS, decode_client
from asrd.wire.messages import (
    ClientMessage,
    CloseReason,
    Hello,
    Open,
    ServerMessage,
    Stats,
    WordTime,
)
from asrd.wire.reports import HealthState, ModelHealth, ProviderHealth, StreamActivity, StreamStats
from support.room import UTTERANCE, Room, run, settle

DOCUMENT = (Path(__file__).parents[2] / "daemon" / "PROTOCOL.md").read_text(encoding="utf-8")

DERIVED_DEFAULTS = {"by source", "configured", "the provider's", "the model's", "the next expected"}
"""Defaults that the code has as None, because something else than the message decides them."""


def section(title: str, level: str = "##") -> str:
    """The text under one heading, up to the next of its level or above."""
    begin = re.search(rf"^{level} {re.escape(title)}\n", DOCUMENT, re.MULTILINE)
    assert begin is not None, title
    rest = DOCUMENT[begin.end() :]
    end = re.search(rf"^#{{2,{len(level)}}} ", rest, re.MULTILINE)
    return rest if end is None else rest[: end.start()]


def tables(text: str) -> list[list[list[str]]]:
    """The rows of each table in a text, its head without the line below it included."""
    found: list[list[list[str]]] = []
    was_row = False
    for line in text.splitlines():
        is_row = line.startswith("|")
        if is_row:
            if not was_row:
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        was_row = is_row
    return [[table[0], *table[2:]] for table in found]


def messages_of(title: str) -> dict[str, str]:
    """Each message described in a chapter, with the text about it."""
    parts = re.split(r"^### `(\w+)`\n", section(title), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def keys_table(text: str, head: str = "key") -> dict[str, list[str]]:
    """The rows of the table with that first heading, by the name in their first cell."""
    for table in tables(text):
        if table[0][0] == head:
            return {row[0].strip("`"): row for row in table[1:]}
    return {}


def by_type(union: object) -> dict[str, type[msgspec.Struct]]:
    return {str(kind.__struct_config__.tag): kind for kind in get_args(union)}


CHAPTERS: list[tuple[str, dict[str, type[msgspec.Struct]]]] = [
    ("From the client", by_type(ClientMessage)),
    ("From the daemon", by_type(ServerMessage)),
]
MESSAGES = [
    pytest.param(text, types[name], id=f"{title} {name}")
    for title, types in CHAPTERS
    for name, text in messages_of(title).items()
    if name in types
]


@pytest.mark.parametrize(("title", "types"), CHAPTERS, ids=lambda value: str(value)[:15])
def test_every_message_type_has_its_chapter_and_every_chapter_its_type(
    title: str, types: dict[str, type[msgspec.Struct]]
) -> None:
    assert messages_of(title).keys() == types.keys()


@pytest.mark.parametrize(("text", "kind"), MESSAGES)
def test_the_table_of_a_message_has_its_keys_and_no_other(
    text: str, kind: type[msgspec.Struct]
) -> None:
    assert keys_table(text).keys() == set(kind.__struct_fields__)


@pytest.mark.parametrize(("text", "kind"), MESSAGES[: len(get_args(ClientMessage))])
def test_defaults_are_those_of_the_code(text: str, kind: type[msgspec.Struct]) -> None:
    rows = keys_table(text)
    for field in msgspec.structs.fields(kind):
        assert rows[field.name][2] in documented_defaults(field), field.name


def documented_defaults(field: msgspec.structs.FieldInfo) -> set[str]:
    default: Any = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    if default is msgspec.NODEFAULT:
        return {"required"}
    if default is None:
        return {"none", *DERIVED_DEFAULTS}
    return {f"`{json.dumps(default)}`"}


@pytest.mark.parametrize(("text", "kind"), MESSAGES[len(get_args(ClientMessage)) :])
def test_optional_keys_of_answers_are_those_that_the_code_may_leave_out(
    text: str, kind: type[msgspec.Struct]
) -> None:
    rows = keys_table(text)
    for field in msgspec.structs.fields(kind):
        is_optional = field.default is msgspec.UNSET
        assert (rows[field.name][2] == "optional") == is_optional, field.name


@pytest.mark.parametrize(("text", "kind"), MESSAGES[: len(get_args(ClientMessage))])
def test_bounds_are_those_of_the_code(text: str, kind: type[msgspec.Struct]) -> None:
    """Every bound of a key stands in its row, thousands with or without a comma."""
    rows = keys_table(text)
    for field in msgspec.structs.fields(kind):
        described = rows[field.name][1].replace(",", "").replace("offset", str(2**53))
        described = described.replace("2^53", str(2**53)).replace("uint", "0")
        for bound in bounds_of(field.type):
            assert str(bound) in described, (field.name, bound)


def bounds_of(annotation: Any) -> list[int]:
    """Lower and upper bounds of a field's own value, and not of what is inside it."""
    bounds: list[int] = []
    for meta in getattr(annotation, "__metadata__", ()):
        limits = (meta.ge, meta.le, meta.min_length, meta.max_length)
        bounds += [int(limit) for limit in limits if limit is not None]
    if not bounds:
        for part in get_args(annotation):
            if getattr(annotation, "__origin__", None) is not dict:
                bounds += bounds_of(part)
    return bounds


def test_every_error_code_has_its_row_and_every_row_its_code() -> None:
    rows = keys_table(section("Errors"), head="code")
    assert rows.keys() == set(ErrorCode)
    assert all(row[2] and row[3] for row in rows.values())


@pytest.mark.parametrize(
    ("head", "kind"), [("key of a provider", ProviderHealth), ("key of a model", ModelHealth)]
)
def test_the_keys_of_the_maps_inside_health_are_those_of_the_code(
    head: str, kind: type[msgspec.Struct]
) -> None:
    """And their types are told by the same words."""
    rows = keys_table(messages_of("From the daemon")["health"], head=head)
    assert rows.keys() == set(kind.__struct_fields__)
    for field in msgspec.structs.fields(kind):
        described = rows[field.name][1]
        assert described.endswith("or nil") == (type(None) in get_args(field.type)), field.name
        words = {bool: "bool", int: "uint", float: "float", str: "string"}
        kinds = [kind for kind in get_args(field.type) or (field.type,) if kind in words]
        assert all(words[kind] in described for kind in kinds), field.name


@pytest.mark.parametrize(
    ("head", "key", "kind", "field"),
    [
        ("key of a provider", "breaker", ProviderHealth, "breaker"),
        ("key of a model", "state", ModelHealth, "state"),
    ],
)
def test_every_word_of_a_state_inside_health_is_explained(
    head: str, key: str, kind: type[msgspec.Struct], field: str
) -> None:
    described = keys_table(messages_of("From the daemon")["health"], head=head)[key][2]
    (words,) = [one.type for one in msgspec.structs.fields(kind) if one.name == field]
    assert all(f"`{word}`" in described for word in get_args(words))


@pytest.mark.parametrize("word", [*get_args(HealthState), *get_args(CloseReason)])
def test_every_state_and_reason_is_named(word: str) -> None:
    answers = messages_of("From the daemon")
    assert f"`{word}`" in answers["health"] + answers["closed"]


def test_the_keys_of_a_word_are_named() -> None:
    text = messages_of("From the daemon")["segment"]
    assert all(f"`{key}`" in text for key in WordTime.__struct_fields__)


# ── statistics ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def counted() -> Stats:
    """What a daemon tells that has read something."""
    told: list[Stats] = []

    async def scenario() -> None:
        room = Room(discover())
        guest = room.greeted()
        guest.open(1)
        await settle()
        guest.speak(1, UTTERANCE)
        await settle()
        room.hub.check()
        told.append(room.reporter.stats())

    run(scenario)
    return told[0]


def names(head: str) -> set[str]:
    """The names in the first column of a table of the chapter on `stats`."""
    rows = keys_table(messages_of("From the daemon")["stats"], head=head)
    assert all(row[-1] for row in rows.values())
    return {name.strip("`") for cell in rows for name in cell.split(", ")}


def test_every_counter_has_its_row_and_every_row_its_counter(counted: Stats) -> None:
    assert names("key of `counters`") == counted.counters.keys()


def test_the_counters_that_are_no_totals_stand_first(counted: Stats) -> None:
    rows = list(keys_table(messages_of("From the daemon")["stats"], head="key of `counters`"))
    assert set(rows[:8]) == set(list(counted.counters)[:8])


def test_every_key_of_a_queue_has_its_row_and_every_row_its_key(counted: Stats) -> None:
    of_source, of_provider = counted.queues["source:mic"], counted.queues["provider:echo"]
    assert names("key of a queue") == of_provider.keys()
    assert of_provider.keys() - of_source.keys() == {"batches"}


def test_every_key_of_a_group_has_its_row_and_every_row_its_key(counted: Stats) -> None:
    assert counted.groups.keys() == {"local"}
    assert names("key of a group") == counted.groups["local"].keys()


def test_the_latencies_and_their_percentiles_are_those_of_the_code(counted: Stats) -> None:
    assert names("key of `latencies`") == counted.latencies.keys()
    text = messages_of("From the daemon")["stats"]
    for percentiles in counted.latencies.values():
        assert percentiles
        assert all(f"`{name}`" in text for name in percentiles)
    assert f"latest {KEPT_VALUES:,} decodes" in text


def test_the_keys_of_a_stream_and_its_states_are_those_of_the_code() -> None:
    text = messages_of("From the daemon")["stats"]
    rows = keys_table(text, head="key of a stream")
    assert rows.keys() == set(StreamStats.__struct_fields__)
    for field in msgspec.structs.fields(StreamStats):
        assert rows[field.name][1].endswith("or nil") == (type(None) in get_args(field.type))
    assert all(f"`{word}`" in rows["state"][2] for word in get_args(StreamActivity))
    assert f"Up to {MAX_STREAMS_TOLD:,} are told" in text
    assert f"the first {MAX_NAME_BYTES} bytes" in rows["client"][2]


# ── turns and load ────────────────────────────────────────────────────────────────────────────


def test_every_reason_for_a_drop_has_its_row_and_every_row_its_reason() -> None:
    rows = keys_table(messages_of("From the daemon")["event"], head="reason")
    assert rows.keys() == set(get_args(DropReason))


def test_every_rung_of_the_ladder_has_its_row_and_every_row_its_rung() -> None:
    levels = {level_of(step) for step in Step if step is not Step.NORMAL} | {FALLBACK_LEVEL}
    assert keys_table(section("Load"), head="level").keys() == {str(level) for level in levels}


def test_what_is_done_about_load_has_the_numbers_of_the_configuration() -> None:
    pace, ladder = Pace(), LadderRule()
    rows = keys_table(section("Load"), head="level")
    assert f"every {pace.busy_s:g} seconds" in rows["1"][1]
    assert f"every {pace.critical_s:g} seconds" in rows["2"][1]
    assert f"more than {ladder.shed_backlog_s:g} seconds" in rows["3"][1]


def test_turns_have_the_numbers_of_the_configuration() -> None:
    rule, text = Scheduling(), " ".join(section("Turns").split())
    words = {2.0: "two", 4.0: "four", 8.0: "eight"}
    slow, slower = words[rule.pace.busy_s], words[rule.pace.critical_s]
    assert f"grown by {words[rule.pace.idle_s]} seconds. " in text
    assert f"Under load that is {slow}, and at worst {slower}: " in text
    mic, others = rule.max_waiting["mic"], rule.max_waiting_others
    assert f"{mic} for `mic`, {others} for any other" in text
    assert rule.max_waiting["system"] == others
    assert f"waited for {rule.queue_timeout_s:g} seconds" in text
    assert f"{rule.background_share * 100:g} in 100 of the decode time" in text
    assert rule.slots == 1
    assert f"priority 1 or {URGENT_PRIORITY} that finds no free slot" in text
    assert f"a decode of priority {YIELDING_PRIORITY} to 10" in text


def test_limits_have_the_values_of_the_configuration() -> None:
    rows = keys_table(section("Limits and time"))
    for name, row in rows.items():
        assert float(row[1]) == getattr(Limits(), name), name
    assert f"While {Limits().max_sessions} sessions have a client" in DOCUMENT


def test_every_limit_that_a_client_is_told_has_its_row_and_every_row_its_limit() -> None:
    async def scenario() -> None:
        told = Room(discover()).guest().hello().limits
        assert keys_table(section("Limits and time")).keys() == told.keys()

    run(scenario)


def test_the_bound_of_arrays_and_maps_is_that_of_the_code() -> None:
    assert f"{MAX_NESTED_ITEMS:,} items" in section("Frames")


def test_the_frames_in_hexadecimal_are_what_the_text_says() -> None:
    blocks = re.findall(r"```hex\n(.*?)```", DOCUMENT, re.DOTALL)
    hello, opened = (bytes.fromhex(block) for block in blocks)
    for data in (hello, opened):
        assert int.from_bytes(data[:4], "big") == len(data) - 4
        assert f"{len(data) - 4} bytes behind its length" in " ".join(DOCUMENT.split())
    assert decode_client(memoryview(hello[4:])) == Hello(version=1, client="demo")
    assert decode_client(memoryview(opened[4:])) == Open(stream=1, source="file")


def test_links_within_the_document_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^##+ (.*)$", DOCUMENT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", DOCUMENT)) <= anchors


def test_no_line_outside_tables_is_too_long_to_read() -> None:
    long = [line for line in DOCUMENT.splitlines() if len(line) > 110 and line[0] != "|"]
    assert long == []


# ── the client in thirty lines ────────────────────────────────────────────────────────────────


def pasted_client() -> str:
    (source,) = re.findall(r"```python\n(.*?)```", section("A client in thirty lines"), re.DOTALL)
    return str(source)


def test_the_client_has_about_thirty_lines_and_needs_msgpack_alone() -> None:
    source = pasted_client()
    assert len([line for line in source.splitlines() if line.strip()]) <= 32
    imports = re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE)
    assert imports == ["socket", "msgpack"]


def test_the_client_prints_the_segments_of_a_file(tmp_path: Path) -> None:
    """As a newcomer runs it: its two constants changed, against a real daemon.

    Two and a half minutes, more than may be sent at once, with a phrase in each minute.
    """
    phrase = speech()
    audio = tmp_path / "speech.raw"
    minute = phrase + bytes(2 * 16_000 * 60 - len(phrase))
    audio.write_bytes(minute + minute + minute[: len(minute) // 2])
    socket_path = tmp_path / "asrd.sock"
    source = pasted_client()
    for name, value in (("SOCKET", socket_path), ("AUDIO", audio)):
        source, count = re.subn(rf"^{name} = \S+", f"{name} = {str(value)!r}", source, flags=re.M)
        assert count == 1
    command = [sys.executable, "-m", "asrd", "serve", "--socket", str(socket_path)]
    with subprocess.Popen([*command, "--provider", "echo"], stderr=subprocess.PIPE) as daemon:
        try:
            wait_for_line(daemon, b'"listening"')
            done = subprocess.run(
                [sys.executable, "-c", source],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
                env={**os.environ, "PYTHONPATH": ""},
            )
        finally:
            daemon.kill()
    lines = [line.split() for line in done.stdout.splitlines()]
    starts = [float(line[0]) for line in lines]
    assert starts == pytest.approx([0.75, 60.75, 120.75], abs=0.3)
    assert all(line[2] == "echo" for line in lines)


def wait_for_line(process: subprocess.Popen[bytes], part: bytes) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if part in line:
            return
    raise AssertionError("the daemon ended without a word")


def speech() -> bytes:
    """3.5 seconds of 16-bit mono PCM at 16 kHz, with one phrase at 0.75 s."""
    samples = Path(__file__).parents[1] / "tiny_whisper" / "samples"
    return (samples / "six_1.wav").read_bytes()[44:]
