"""A model that is fed hears each utterance from its first sample, in order, whatever happens."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asrd.session.feeding import Feeding, Part
from support.profiles import examples


def fed(feed_s: float | None = 0.5) -> Feeding:
    feeding = Feeding()
    feeding.go_by("m", feed_s)
    return feeding


def test_parts_go_on_where_the_last_one_ended() -> None:
    feeding = fed()
    assert feeding.part(100, 300, is_last=False) == Part(
        number=1, start=100, is_first=True, is_last=False
    )
    assert feeding.begin_of(100, 500) == 300
    assert feeding.part(100, 500, is_last=True) == Part(
        number=1, start=300, is_first=False, is_last=True
    )
    feeding.heard()
    assert feeding.begin_of(100, 500) == 100
    feeding.forget()
    assert feeding.take_given_up() == []


def test_an_utterance_in_one_piece_is_first_and_last() -> None:
    part = fed().part(100, 300, is_last=True)
    assert (part.start, part.is_first, part.is_last) == (100, True, True)


def test_what_was_forgotten_is_given_up_once_and_fed_anew() -> None:
    feeding = fed()
    feeding.part(100, 300, is_last=False)
    feeding.forget()
    feeding.forget()
    assert feeding.take_given_up() == [("m", 1)]
    assert feeding.take_given_up() == []
    part = feeding.part(100, 400, is_last=False)
    assert (part.number, part.start, part.is_first) == (2, 100, True)


def test_a_last_part_that_was_not_heard_is_given_up() -> None:
    feeding = fed()
    feeding.part(100, 300, is_last=True)
    feeding.forget()
    assert feeding.take_given_up() == [("m", 1)]


def test_an_utterance_that_ends_before_what_was_fed_is_fed_anew() -> None:
    feeding = fed()
    feeding.part(100, 900, is_last=False)
    assert feeding.begin_of(100, 800) == 100
    part = feeding.part(100, 800, is_last=True)
    assert (part.number, part.start, part.is_first) == (2, 100, True)
    assert feeding.take_given_up() == [("m", 1)]


def test_another_utterance_gives_the_one_before_up() -> None:
    feeding = fed()
    feeding.part(100, 300, is_last=False)
    feeding.part(400, 500, is_last=False)
    assert feeding.take_given_up() == [("m", 1)]


def test_another_model_is_fed_from_the_first_sample_and_the_same_one_goes_on() -> None:
    feeding = fed()
    feeding.part(100, 300, is_last=False)
    feeding.go_by("m", 0.5)
    assert feeding.begin_of(100, 400) == 300
    feeding.go_by("n", 0.5)
    assert feeding.take_given_up() == [("m", 1)]
    assert feeding.begin_of(100, 400) == 100
    feeding.part(100, 400, is_last=False)
    feeding.go_by("n", None)
    assert feeding.take_given_up() == [("n", 2)]


class FeedingMachine(RuleBasedStateMachine):
    """Utterances one after another, of which each is fed in parts to models that lose them."""

    def __init__(self) -> None:
        super().__init__()
        self.feeding = fed()
        self.model = "m"
        self.utterance = 0
        self.end = 0
        self.part: Part | None = None  # with the model
        self.kept: dict[tuple[str, int], list[tuple[int, int]]] = {}
        self.begun: set[tuple[str, int]] = set()
        self.given_up: set[tuple[str, int]] = set()
        self.finished: dict[int, tuple[tuple[str, int], list[tuple[int, int]], int]] = {}

    @precondition(lambda self: self.part is None)
    @rule(samples=st.integers(1, 100))
    def feed(self, samples: int) -> None:
        self.end += samples
        self.give(is_last=False)

    @precondition(lambda self: self.part is None and self.end > self.utterance)
    @rule(less=st.integers(0, 120))
    def finish(self, less: int) -> None:
        """The utterance ends, maybe before what was fed of it already."""
        self.end = max(self.utterance + 1, self.end - less)
        self.give(is_last=True)

    @precondition(lambda self: self.part is None and self.end > self.utterance)
    @rule()
    def drop(self) -> None:
        """Nobody wants the utterance any more."""
        self.feeding.forget()
        self.next()

    @rule(model=st.sampled_from(["m", "n"]), feed_s=st.sampled_from([0.5, 1.0]))
    def change_model(self, model: str, feed_s: float) -> None:
        self.feeding.go_by(model, feed_s)
        self.model = model

    @rule()
    def lose(self) -> None:
        """A model loses all that it kept."""
        self.kept.clear()

    @precondition(lambda self: self.part is not None)
    @rule(fails=st.sampled_from([False, False, True]))
    def answer(self, fails: bool) -> None:
        part, self.part = self.part, None
        assert part is not None
        known = self.kept.get(self.key)
        if fails or (known is None and self.key not in self.given_up):
            self.feeding.forget()
            if part.is_last:  # it is asked again
                self.give(is_last=True)
            return
        self.feeding.heard()
        if part.is_last:
            if known is not None:
                self.finished[self.utterance] = (self.key, self.kept.pop(self.key), self.end)
            self.next()

    def give(self, *, is_last: bool) -> None:
        begin = self.feeding.begin_of(self.utterance, self.end)
        self.part = part = self.feeding.part(self.utterance, self.end, is_last=is_last)
        assert part.start == begin
        self.key = (self.model, part.number)
        if part.is_first:
            assert self.key not in self.begun
            self.begun.add(self.key)
            self.kept[self.key] = []
        if self.key in self.kept:
            self.kept[self.key].append((part.start, self.end))

    def next(self) -> None:
        self.utterance = self.end = self.end + 10

    @invariant()
    def given_up_once(self) -> None:
        for model, number in self.feeding.take_given_up():
            assert (model, number) in self.begun
            assert (model, number) not in self.given_up
            self.given_up.add((str(model), number))
            self.kept.pop((str(model), number), None)

    @invariant()
    def each_was_fed_in_order_and_once(self) -> None:
        for utterance, (_, spans, last) in self.finished.items():
            at = utterance
            for start, end in spans:
                assert start == at
                assert end >= start
                at = end
            assert at == last

    def teardown(self) -> None:
        if self.part is not None:
            self.answer(fails=False)
        while self.part is not None:
            self.answer(fails=False)
        self.feeding.forget()
        self.given_up_once()
        finished = {key for key, *_ in self.finished.values()}
        assert self.begun == finished | self.given_up
        assert not finished & self.given_up
        assert not self.kept


TestFeeding = FeedingMachine.TestCase
TestFeeding.settings = examples(200, steps=40)
