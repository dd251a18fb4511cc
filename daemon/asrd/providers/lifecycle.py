"""The life of a model: one table, and nothing happens that is not in it.

unavailable ──begin──► starting ──loaded──► warming_up ──warmed──► ready ◄──► degraded
     ▲                  ▲    │                 │    │                │           │
     │                  └────┼──────died───────┘    │                │           │
     │                  └────┼──────died────────────┼────────────────┘───────────┘
     └───────given_up────────┴──────────────────────┘              stopped: from anywhere
"""

from enum import Enum, StrEnum, auto

from asrd.errors import AsrdError


class ModelState(StrEnum):
    """How a model is, in the protocol's words."""

    STARTING = "starting"
    """Its worker is started, or waits to be, or loads it."""
    WARMING_UP = "warming_up"
    READY = "ready"
    DEGRADED = "degraded"
    """It takes work, and has failed several times running."""
    UNAVAILABLE = "unavailable"
    """It has no worker: not asked for yet, unloaded, or given up."""

    @property
    def is_coming_up(self) -> bool:
        """Whether those who want the model have to wait."""
        return self in (ModelState.STARTING, ModelState.WARMING_UP)

    @property
    def is_up(self) -> bool:
        """Whether calls can be made."""
        return self in (ModelState.READY, ModelState.DEGRADED)


class ModelInput(Enum):
    """What can happen to a model."""

    BEGIN = auto()
    LOADED = auto()
    WARMED = auto()
    DIED = auto()
    GIVEN_UP = auto()
    FAILED_AGAIN = auto()
    SUCCEEDED = auto()
    STOPPED = auto()


_S = ModelState
_I = ModelInput

TRANSITIONS: dict[tuple[ModelState, ModelInput], ModelState] = {
    (_S.UNAVAILABLE, _I.BEGIN): _S.STARTING,
    (_S.STARTING, _I.LOADED): _S.WARMING_UP,
    (_S.STARTING, _I.DIED): _S.STARTING,
    (_S.STARTING, _I.GIVEN_UP): _S.UNAVAILABLE,
    (_S.WARMING_UP, _I.WARMED): _S.READY,
    (_S.WARMING_UP, _I.DIED): _S.STARTING,
    (_S.WARMING_UP, _I.GIVEN_UP): _S.UNAVAILABLE,
    (_S.READY, _I.SUCCEEDED): _S.READY,
    (_S.READY, _I.FAILED_AGAIN): _S.DEGRADED,
    (_S.READY, _I.DIED): _S.STARTING,
    (_S.DEGRADED, _I.SUCCEEDED): _S.READY,
    (_S.DEGRADED, _I.FAILED_AGAIN): _S.DEGRADED,
    (_S.DEGRADED, _I.DIED): _S.STARTING,
    **{(state, _I.STOPPED): _S.UNAVAILABLE for state in _S},
}


def next_state(state: ModelState, happened: ModelInput) -> ModelState:
    """The state that follows. Raises AsrdError for a pair that is not in the table: a bug."""
    try:
        return TRANSITIONS[state, happened]
    except KeyError:
        raise AsrdError(f"a model that is {state} cannot have {happened.name.lower()}") from None
