"""How hypothesis searches: the same examples in every run, unless someone goes exploring.

`HYPOTHESIS_PROFILE=explore pytest ...` draws other examples in each run, and many more of them.
A test that asks for a share of the examples says so with `examples`.
"""

import os

from hypothesis import HealthCheck, settings

SUPPRESSED = (HealthCheck.too_slow, HealthCheck.data_too_large)
EXPLORE_TIMES = 10

settings.register_profile(
    "fixed", derandomize=True, deadline=None, database=None, suppress_health_check=SUPPRESSED
)
settings.register_profile("explore", deadline=None, suppress_health_check=SUPPRESSED)

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "fixed")
settings.load_profile(PROFILE)


def examples(count: int, *, steps: int = 50) -> settings:
    """Settings for a test of `count` examples; a state machine takes `steps` steps in each."""
    times = EXPLORE_TIMES if PROFILE == "explore" else 1
    return settings(
        settings.get_profile(PROFILE), max_examples=count * times, stateful_step_count=steps
    )
