"""What is counted by source and provider: each thing once, under few names."""

from asrd.scheduler.accounts import MAX_SOURCES, OTHER_SOURCES, Accounts
from asrd.scheduler.measures import Outcome
from asrd.scheduler.queue import Job


def job(*, source: str = "mic", provider: str = "echo", is_partial: bool = False) -> Job:
    return Job(
        stream=1,
        session=1,
        source=source,
        provider=provider,
        model=provider,
        priority=1,
        is_partial=is_partial,
        is_live=True,
        batch_key=None,
    )


def decode(accounts: Accounts, job: Job, outcome: Outcome, audio_s: float = 2.0) -> None:
    accounts.begin(job)
    accounts.end(
        job,
        outcome,
        is_aborted=False,
        audio_s=audio_s,
        waited_s=0.25,
        held_s=1.0,
        share_s=0.5,
    )


def test_histograms_count_what_was_read_and_nothing_else() -> None:
    accounts = Accounts()
    decode(accounts, job(), Outcome.READ)
    decode(accounts, job(is_partial=True), Outcome.READ)
    for outcome in (Outcome.FAILED, Outcome.PUT_BACK, Outcome.NOTHING):
        decode(accounts, job(), outcome)
    assert (waits := accounts.queue_waits["mic"]).finals.sum == 0.25
    assert (waits.finals.count, waits.partials.count) == (1, 1)
    assert accounts.decode_times["echo"].finals.sum == 1.0
    assert (accounts.factors["echo"].count, accounts.factors["echo"].sum) == (2, 0.5)


def test_a_window_without_audio_has_no_real_time_factor() -> None:
    accounts = Accounts()
    decode(accounts, job(), Outcome.READ, audio_s=0.0)
    assert "echo" not in accounts.factors


def test_what_is_dropped_is_counted_by_source_and_reason() -> None:
    accounts = Accounts()
    for reason, dropped_s in (("backlog", 1.0), ("overload", 2.0), ("backlog", 4.0)):
        accounts.drop("mic", reason, dropped_s)
    assert accounts.dropped_s == {("mic", "backlog"): 5.0, ("mic", "overload"): 2.0}
    assert accounts.by_source["mic"].dropped_s == 7.0


def test_names_that_clients_make_up_cost_no_memory() -> None:
    accounts = Accounts(reserved=["mic"])
    for number in range(1000):
        decode(accounts, job(source=f"made up {number}"), Outcome.READ)
        accounts.drop(f"made up {number}", "backlog", 1.0)
    decode(accounts, job(source="mic"), Outcome.READ)
    kept = {OTHER_SOURCES, "mic", *(f"made up {number}" for number in range(MAX_SOURCES))}
    assert accounts.by_source.keys() == accounts.queue_waits.keys() == kept
    assert {source for source, _ in accounts.dropped_s} == kept - {"mic"}
