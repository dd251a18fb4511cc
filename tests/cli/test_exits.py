"""Every error ends with its own exit code, told in one line."""

import pytest

from asrd.cli.exits import CommandError, Exit, OutputClosed, judge, report
from asrd.client import ConnectionLost, Refused, StreamEnded, Unreachable
from asrd.errors import ErrorCode, ModelUnavailable, StartupError
from asrd.providers.registry import UnknownProvider

WIRE_CODES = {
    ErrorCode.BUSY: 75,
    ErrorCode.TOO_MANY_STREAMS: 75,
    ErrorCode.RATE_LIMITED: 75,
    ErrorCode.QUEUE_TIMEOUT: 75,
    ErrorCode.DRAINING: 75,
    ErrorCode.SLOW_CONSUMER: 69,
    ErrorCode.UNAUTHORIZED: 77,
    ErrorCode.UNKNOWN_PROVIDER: 64,
    ErrorCode.PROVIDER_UNAVAILABLE: 69,
    ErrorCode.UNSUPPORTED_VERSION: 69,
    ErrorCode.INVALID_MESSAGE: 64,
}


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_of_the_wire_has_an_exit_code(code: ErrorCode) -> None:
    """What is not listed is a mistake of ours or of the daemon: 70."""
    expected = WIRE_CODES.get(code, 70)
    assert judge(Refused("why", code))[0] == expected
    assert judge(ConnectionLost("why", code))[0] == expected


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CommandError("what happened", Exit.DATA, "do this"), 65, "what happened: do this"),
        (CommandError("what happened", Exit.DATA), 65, "what happened"),
        (OutputClosed(), 74, ""),
        (StartupError("the address is in use", 75), 75, "the address is in use"),
        (Unreachable("no daemon answers"), 69, "no daemon answers"),
        (Unreachable("a bad setting", exit_code=78), 78, "a bad setting"),
        (Unreachable("it was killed", exit_code=-9), 69, "it was killed"),
        (ConnectionLost("it broke"), 69, "it broke: repeat the command"),
        (Refused("Full.", "busy"), 75, "Full: try again later"),
        (Refused("new", "a_code_of_tomorrow"), 70, "new"),
        (UnknownProvider("no x"), 64, "no x: see `asrd providers`"),
        (ModelUnavailable("get it by this"), 69, "get it by this"),
        (StreamEnded("ended", "idle"), 70, "ended"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_and_their_lines(error: BaseException, code: int, line: str) -> None:
    assert judge(error) == (code, line)


def test_a_configuration_with_several_mistakes_is_told_on_as_many_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert report(StartupError("a.toml: one\nb.toml: two", 78)) == 78
    assert capsys.readouterr().err == "asrd: a.toml: one\nasrd: b.toml: two\n"


def test_a_mistake_of_ours_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError("x\ny")) == 70
    told = capsys.readouterr().err
    assert told.startswith("asrd: internal error, ZeroDivisionError: x y: run it again with")
    assert told.count("\n") == 1


def test_a_traceback_is_shown_only_when_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASRD_DEBUG", "1")
    report(ZeroDivisionError("x"))
    assert "ZeroDivisionError: x" in capsys.readouterr().err.splitlines()[0]
