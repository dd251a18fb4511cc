"""What a program says on stderr: whole lines, not too many, and none too long."""

from hypothesis import given
from hypothesis import strategies as st

from asrd_process.remarks import LINES_AT_A_TIME, MAX_LINE_CHARACTERS, PERIOD_S, Remarks


def test_lines_are_passed_on_once_they_are_whole() -> None:
    remarks = Remarks()
    assert remarks.take(b"Loading wei", 0.0) == []
    assert remarks.take(b"ghts...\nModel\r\n\n10 %\r20 %\rrest", 0.0) == [
        "Loading weights...",
        "Model",
        "10 %",
        "20 %",
    ]
    assert remarks.last == "20 %"
    assert remarks.end(0.0) == ["rest"]
    assert remarks.end(0.0) == []
    assert remarks.last == "rest"


def test_what_a_terminal_would_obey_is_left_out() -> None:
    assert Remarks().take(b"\x1b[31mred\x00\x9b \xff\n", 0.0) == ["[31mred \ufffd \ufffd"]


def test_too_many_lines_are_counted_and_the_next_period_tells_of_it() -> None:
    remarks = Remarks()
    many = b"".join(b"line %d\n" % number for number in range(100))
    assert remarks.take(many, 0.0) == [f"line {number}" for number in range(LINES_AT_A_TIME)]
    assert remarks.last == "line 99"
    assert remarks.take(b"more\n", PERIOD_S - 0.1) == []
    assert remarks.take(b"again\n", PERIOD_S) == ["(81 lines were left out)", "again"]
    assert remarks.take(b"and again\n", PERIOD_S) == ["and again"]


@given(st.lists(st.binary(max_size=2000), max_size=20))
def test_nothing_grows_without_an_end(pieces: list[bytes]) -> None:
    remarks = Remarks()
    told = [line for piece in pieces for line in remarks.take(piece, 0.0)] + remarks.end(0.0)
    assert len(told) <= LINES_AT_A_TIME
    assert all(0 < len(line) <= MAX_LINE_CHARACTERS and line.isprintable() for line in told)
    assert len(remarks._rest) <= MAX_LINE_CHARACTERS
