"""One frame of `asrd top`: exact where it is small, and never larger than the screen."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from asrd.cli.screens.frame import LOST, frame, lost_frame
from asrd.cli.screens.glyphs import ASCII, LINES, Glyphs
from asrd.cli.screens.looks import Look
from asrd.wire.reports import ModelHealth, ProviderHealth
from support.looks import BARE, QUEUE, health, look, stats, stream

HOSTILE = "\x1b[2J\x1b]0;owned\x07大きさ\u202e\u200d\u0301👩‍👩‍👧\n" * 3


def lines_of(found: Look, width: int = 80, height: int = 24, **more: Any) -> list[str]:
    """The frame as text; every line fits, and there are no more than the screen has."""
    glyphs: Glyphs = more.pop("glyphs", LINES)
    made = frame(found, width=width, height=height, glyphs=glyphs, **more)
    assert len(made) <= height
    assert all(cell_len(line.plain) <= width for line in made)
    assert all(each.isprintable() for line in made for each in line.plain)
    return [line.plain.rstrip() for line in made]


def test_a_busy_daemon_at_80_by_24() -> None:
    assert lines_of(look(), foot="q quits") == [
        "asrd 0.1.0  ready  up 1 h 2 min  level 2 (fewer partials, smaller models)",
        "2 streams, 1 client, 24 gone, 1 waiting, real-time factor 0.123, 144 MB",
        "nothing went wrong",
        "slots local       ━━━━━━━━──────── 1/2 in use   load 0.88   level 2",
        "QUEUE                 WAITING WAIT P50     P95 DECODE P50     P95    RTF DROPPED",
        "all                             1.2 ms   88 ms     1.2 ms   88 ms  0.123",
        "mic         ╸────────   3/100   1.2 ms   88 ms     1.2 ms   88 ms  0.123  12.5 s",
        "MODEL                    STATE       STREAMS  MEMORY     GPU  DECODE NOTE",
        "echo                     ready             2   35 MB",
        "voice activity           ready                 39 MB",
        "STREAM    CLIENT        SOURCE   P STATE          dBFS L BACKLOG   DELAY DROPPED",
        "s1/2      a recorder    mic      1 waiting  ━━╸──  -30     7.2 s",
        "s1/1      a recorder    mic      1 speaking ━━╸──  -30",
        *[""] * 10,
        "q quits",
    ]


@pytest.mark.parametrize("width", range(1, 80))
def test_a_screen_too_narrow_has_fewer_columns_and_none_that_is_cut(width: int) -> None:
    """But for the first, where it has no room either."""
    for line in lines_of(look(), width):
        if line.startswith(("STREAM ", "QUEUE ", "MODEL ")):
            assert "…" not in line or width < 24


def test_what_clients_call_their_sources_pushes_nothing_off() -> None:
    """Where audio waits or was dropped comes first, then microphone and system."""
    calm = QUEUE | {"depth": 0, "dropped_s": 0.0}
    names = [*(f"a{number}" for number in range(30)), "mic", "system"]
    queues = {f"source:{name}": calm for name in names} | {
        "source:z1": calm | {"dropped_s": 0.5},
        "source:z2": calm | {"depth": 1},
    }
    lines = lines_of(look(of_stats=stats(queues=queues)), height=40)
    first = lines.index(next(line for line in lines if line.startswith("all ")))
    shown = [line.split()[0] for line in lines[first + 1 : first + 6]]
    assert shown == ["z2", "z1", "mic", "system", "a0"]


def test_a_wide_screen_has_more_columns_and_room_between_its_parts() -> None:
    lines = lines_of(look(), 160, 50)
    (headings,) = (line for line in lines if line.startswith("STREAM "))
    assert headings.split() == [
        *("STREAM", "CLIENT", "SOURCE", "P", "STATE", "dBFS", "READ", "BY", "L"),
        *("BACKLOG", "DELAY", "DROPPED", "AUDIO", "SEGMENTS"),
    ]
    assert lines.count("") == 3
    assert "a recorder" in lines[-1]
    assert "partials every 4 s" in lines[0]


def test_a_terminal_without_such_characters_gets_ascii() -> None:
    foreign = look(of_stats=stats(streams=[stream(client="größe", source="大")]))
    text = "\n".join(lines_of(foreign, 160, glyphs=ASCII))
    assert text.isascii()
    assert "gr??e" in text
    assert "========--------" in text


def test_a_thousand_streams_fill_the_room_and_the_rest_is_counted() -> None:
    streams = [stream(number, session=f"s{number}") for number in range(1000)]
    lines = lines_of(look(of_stats=stats(streams=streams, streams_left_out=500)), foot="q")
    shown = [line for line in lines if "/" in line.split(" ")[0]]
    assert lines[-2:] == [f"... and {1500 - len(shown)} more", "q"]
    assert len(shown) == 24 - len(lines[: lines.index(shown[0])]) - 2


def test_many_queues_and_models_leave_room_for_streams() -> None:
    queues = {f"source:{number}": QUEUE for number in range(33)}
    models = [ModelHealth(model=f"m{number}", state="starting") for number in range(30)]
    many = ProviderHealth(state="starting", model="m0", is_default=True, models=models)
    lines = lines_of(look(health(providers={"echo": many}), stats(queues=queues)), foot="q")
    assert lines.count("... and 30 more") == 1
    assert lines.count("... and 28 more") == 1
    assert any(line.startswith("s1/2") for line in lines)


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        (
            {"state": "unavailable", "problem": "one has to ask", "is_loadable": True},
            "echo                     not loaded",
        ),
        (
            {"state": "unavailable", "problem": "no file", "remedy": "pull it"},
            "echo                     unavailable                                 no file",
        ),
    ],
)
def test_a_provider_that_is_relied_on_is_told_without_a_model(
    changes: dict[str, Any], row: str
) -> None:
    echo = ProviderHealth(model="echo", is_default=True, **changes)
    idle = ProviderHealth(model="other", state="unavailable")
    lines = lines_of(look(health(providers={"echo": echo, "idle": idle})))
    assert row in lines
    assert not any("other" in line for line in lines)


def test_what_went_wrong_is_told() -> None:
    counters = {"dropped_s": 3.25, "decodes_failed": 1, "worker_restarts": 2}
    lines = lines_of(look(of_stats=stats(counters=counters, errors={"busy": 3})))
    assert lines[2] == (
        "3.2 s of audio dropped; 1 decode failed; 2 worker restarts; errors told: 3 busy"
    )


def test_what_another_version_leaves_out_is_left_out() -> None:
    lines = lines_of(BARE)
    assert lines[0] == "  ready  up 1 s  level 0 (everybody gets all)"
    assert lines[-1] == "this daemon is too old to tell of its streams"


def test_an_idle_daemon_says_that_it_is() -> None:
    assert lines_of(look(of_stats=stats(streams=[])))[-1] == "no streams are open"


def test_while_no_answer_comes_the_last_look_stays_below_the_reason() -> None:
    lines = frame(look(), width=80, height=24, glyphs=LINES)
    kept = [line.plain for line in lines[1:]]
    lost = lost_frame(lines, "the daemon\x1b[2J is gone " * 9, width=80, glyphs=LINES)
    assert lost[0].plain.startswith(f"{LOST}: the daemon")
    assert cell_len(lost[0].plain) == 80
    assert "\x1b" not in lost[0].plain
    assert [line.plain for line in lost[1:]] == kept


NAMES = st.text(max_size=40) | st.just(HOSTILE)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(NAMES, NAMES, st.integers(1, 200), st.integers(1, 60), st.booleans(), st.integers(0, 2**64))
def test_nothing_breaks_the_frame(
    name: str, other: str, width: int, height: int, is_ascii: bool, number: int
) -> None:
    """Whatever clients and providers call themselves, on whatever screen."""
    told = stream(
        number,
        session=other,
        client=name,
        source=other,
        provider=name,
        model=other,
        audio_dbfs=float(-number),
        backlog_s=float(number),
        delay_ms=float(number),
        dropped_s=float(number),
        segments=number,
    )
    broken = ModelHealth(model=other, state="unavailable", problem=name, memory_bytes=number)
    found = look(
        health(providers={name: ProviderHealth(state="ready", model=name, models=[broken])}),
        stats(
            streams=[told],
            queues={f"source:{name}": QUEUE | {"depth": number, "dropped_s": float(number)}},
            groups={other: {"slots": 1, "running": number, "load": float(number), "level": 7}},
            errors={name: number},
        ),
        server=name,
    )
    glyphs = ASCII if is_ascii else LINES
    lines_of(found, width, height, glyphs=glyphs, foot="q quits", order="backlog")


def test_styles_are_never_the_only_carriers() -> None:
    """A frame without its styles still says all: its text has what a style would stress."""
    made = frame(look(), width=80, height=24, glyphs=LINES)
    styled = [span for line in made for span in line.spans if "yellow" in str(span.style)]
    assert styled
    assert all(isinstance(line, Text) for line in made)
