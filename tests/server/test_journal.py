"""journald's native protocol, read by what stands in for journald."""

import errno
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.server.journal import (
    MAX_ENTRY_BYTES,
    MAX_VALUE_BYTES,
    MESSAGE_CHARACTERS,
    Event,
    Journal,
    entry,
    field_name,
    is_journal,
)
from asrd.server.log_backlog import MAX_WAITING_BYTES
from support.journald import Journald, read_entry
from support.waiting import wait_until

KEYS = st.text(min_size=1, max_size=80).filter(lambda key: key not in ("event", "level"))
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=300))


@given(st.dictionaries(KEYS, VALUES, max_size=8), st.text(max_size=50))
def test_whatever_is_said_can_be_read_again(values: dict[str, Any], event: str) -> None:
    fields = read_entry(entry({**values, "event": event, "level": "info"}))
    assert fields["SYSLOG_IDENTIFIER"] == "asrd"
    if all(field_name(key) != "ASRD_EVENT" for key in values):
        assert fields["ASRD_EVENT"] == event.encode("utf-8", "backslashreplace").decode()
    by_name: dict[str, list[Any]] = {}
    for key, value in values.items():
        by_name.setdefault(field_name(key), []).append(value)
    for name, (value, *others) in by_name.items():
        if isinstance(value, str) and not others and name not in ("ASRD_EVENT", "ASRD_TIMESTAMP"):
            assert fields[name] == value.encode("utf-8", "backslashreplace").decode()
    assert "\n" not in fields["MESSAGE"]
    assert len(fields["MESSAGE"]) <= MESSAGE_CHARACTERS


def test_keys_become_names_that_journald_takes() -> None:
    assert field_name("queue_wait_max_ms") == "ASRD_QUEUE_WAIT_MAX_MS"
    assert field_name("_é-1") == "ASRD____1"
    assert len(field_name("x" * 100)) == 64


def test_what_is_too_long_is_cut_with_a_mark_and_the_whole_is_bounded() -> None:
    long = "a" * 2**20 + "end"
    fields = read_entry(entry({"event": "one", "text": long, "short": 1}))
    assert len(fields["ASRD_TEXT"].encode()) <= MAX_VALUE_BYTES
    assert " bytes cut] " in fields["ASRD_TEXT"]
    assert fields["ASRD_TEXT"].endswith("end")  # of a traceback, it says most
    assert fields["ASRD_SHORT"] == "1"
    crowd = entry({"event": "one"} | {f"key{number}": "ü" * 2**15 for number in range(100)})
    assert len(crowd) < MAX_ENTRY_BYTES + 100
    assert int(read_entry(crowd)["ASRD_LEFT_OUT"]) == 97


def test_values_of_other_kinds_are_json() -> None:
    circle: list[object] = []
    circle.append(circle)
    values = {"a": {"b": 1.5}, "yes": True, "path": Path("/x"), "circle": circle, "no": None}
    fields = read_entry(entry({"event": "one", **values}))
    assert fields["ASRD_A"] == '{"b": 1.5}'
    assert fields["ASRD_YES"] == "true"
    assert fields["ASRD_PATH"] == '"/x"'
    assert fields["ASRD_CIRCLE"] == "[[...]]"
    assert "ASRD_NO" not in fields


def test_a_descriptor_is_the_journals_only_where_the_variable_names_it(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        status = (tmp_path / "file").stat()
        assert is_journal(file.fileno(), f"{status.st_dev}:{status.st_ino}")
        assert not is_journal(file.fileno(), "")
        number = file.fileno()
    assert not is_journal(number, f"{status.st_dev}:{status.st_ino}")


@pytest.mark.parametrize(
    "character", ["\x1b", "\x9b", "\n", "\u2028", "\u202e", "\u2066", "\ud800"]
)
def test_no_message_holds_what_a_terminal_obeys(character: str) -> None:
    fields = read_entry(entry({"event": "one", "client": f"a{character}b"}))
    assert fields["MESSAGE"] == "one client=a b"


def read_more(journald: Journald, found: list[dict[str, str]]) -> list[dict[str, str]]:
    found += journald.entries()
    return found


def test_a_burst_is_sent_as_fast_as_journald_reads(tmp_path: Path) -> None:
    """It takes some ten datagrams at once; who logs never waits for it."""
    elsewhere: list[Event] = []
    with Journald(tmp_path / "socket") as journald:
        journal = Journal(journald.path, elsewhere.append)
        for number in range(500):
            journal.send({"event": "one", "level": "info", "number": number})
        assert not journal.drain(0)
        found: list[dict[str, str]] = []
        wait_until(lambda: len(read_more(journald, found)) == 500, "every line")
    assert [fields["ASRD_NUMBER"] for fields in found] == [str(number) for number in range(500)]
    assert (journal.lost_lines, elsewhere) == (0, [])


def test_what_finds_no_room_is_lost_counted_and_told_where_it_is_missing(tmp_path: Path) -> None:
    elsewhere: list[Event] = []
    with Journald(tmp_path / "socket") as journald:
        journal = Journal(journald.path, elsewhere.append)
        sent = 0
        while not journal.lost_lines:
            journal.send({"event": "one", "level": "info", "number": sent, "text": "x" * 2**13})
            sent += 1
        assert sent < 2 * MAX_WAITING_BYTES / 2**13
        journal.send({"event": "two", "level": "info"})
        assert journal.lost_lines == 2
        found: list[dict[str, str]] = []
        wait_until(lambda: len(read_more(journald, found)) == sent, "all that waited")
        journal.send({"event": "three", "level": "info"})
        assert journal.drain(5.0)
        (three,) = journald.entries()
    *ones, lost = found
    assert [fields["ASRD_NUMBER"] for fields in ones] == [str(each) for each in range(sent - 1)]
    assert (lost["ASRD_EVENT"], lost["ASRD_LINES"], lost["PRIORITY"]) == (
        "log_lines_lost",
        "2",
        "4",
    )
    assert three["ASRD_EVENT"] == "three"
    assert not elsewhere


def test_a_line_that_nobody_can_write_costs_itself(tmp_path: Path) -> None:
    def fail(_: Event) -> None:
        raise ZeroDivisionError

    path = tmp_path / "socket"
    journal = Journal(path, fail)
    journal.send({"event": "one"})
    assert journal.drain(5.0)
    with Journald(path) as journald:
        journal.send({"event": "two"})
        assert journal.drain(5.0)
        assert [fields["ASRD_EVENT"] for fields in journald.entries()] == ["two"]
    assert journal.lost_lines == 1


def test_what_waits_is_bounded_by_what_is_sent_of_it(tmp_path: Path) -> None:
    elsewhere: list[Event] = []
    journal = Journal(tmp_path / "nobody", elsewhere.append)
    journal.send({"event": "one", "text": "x" * 2**20})
    assert journal.drain(5.0)
    (line,) = elsewhere
    assert len(line["text"]) <= MAX_VALUE_BYTES


def test_a_journald_that_was_started_anew_is_found(tmp_path: Path) -> None:
    elsewhere: list[Event] = []
    path = tmp_path / "socket"
    journal = Journal(path, elsewhere.append)
    journal.send({"event": "one"})
    assert journal.drain(5.0)
    with Journald(path) as journald:
        journal.send({"event": "two"})
        assert journal.drain(5.0)
        assert [fields["ASRD_EVENT"] for fields in journald.entries()] == ["two"]
    path.unlink()
    with Journald(path) as journald:
        journal.send({"event": "three"})
        assert journal.drain(5.0)
        assert [fields["ASRD_EVENT"] for fields in journald.entries()] == ["three"]
    assert [event["event"] for event in elsewhere] == ["one"]


def test_a_line_that_is_too_large_for_the_socket_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMSGSIZE, "Message too long")

    elsewhere: list[Event] = []
    journal = Journal(tmp_path / "socket", elsewhere.append)
    monkeypatch.setattr(socket.socket, "sendto", refuse)
    journal.send({"event": "one"})
    assert journal.drain(5.0)
    assert (journal.lost_lines, elsewhere) == (0, [{"event": "one"}])
