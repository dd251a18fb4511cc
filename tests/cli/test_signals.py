"""Deadly signals, while something of ours stands on the terminal.

That nothing is left there, and that the process dies of the signal, see `test_progress.py`.
"""

import signal
import threading

import pytest

from asrd.cli import signals


@pytest.fixture(autouse=True)
def nothing_was_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_caught", [])


def test_one_that_is_ignored_stays_so_and_the_others_are_given_back() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.unwinding():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert callable(signal.getsignal(signal.SIGTERM))
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_one_interrupts_and_is_died_of_when_all_is_unwound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    died: list[int] = []
    monkeypatch.setattr(signals, "die_of", died.append)
    signals.die_if_caught()
    with pytest.raises(KeyboardInterrupt), signals.unwinding():
        signal.raise_signal(signal.SIGTERM)
    assert died == []
    signals.die_if_caught()
    assert died == [signal.SIGTERM]


def test_only_the_main_thread_is_told_of_signals() -> None:
    seen = []

    def look() -> None:
        with signals.unwinding():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
