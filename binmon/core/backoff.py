"""Growing, jittered delays between attempts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """First delay, growth factor and cap, in seconds; ``jitter`` is the share of a delay that is random."""

    first_s: float = 0.2
    factor: float = 2.0
    cap_s: float = 30.0
    jitter: float = 0.3

    def __post_init__(self) -> None:
        if not (0 < self.first_s <= self.cap_s and self.factor >= 1 and 0 <= self.jitter < 1):
            raise ValueError(f"not a backoff policy: {self}")


@dataclass(slots=True)
class Backoff:
    """Counts failures in a row and says how long to wait. Reset it on progress, not on a mere connection."""

    policy: BackoffPolicy = field(default_factory=BackoffPolicy)
    random: random.Random = field(default_factory=random.Random)
    attempt: int = 0

    def next_delay_s(self) -> float:
        """The delay before the next attempt. Jitter survives the cap, so that a fleet never moves in step."""
        policy = self.policy
        # the exponent is bounded: an outage of weeks must not overflow a float
        delay_s = min(policy.cap_s, policy.first_s * policy.factor ** min(self.attempt, 64))
        self.attempt += 1
        return delay_s * (1 - policy.jitter * self.random.random())

    def reset(self) -> None:
        self.attempt = 0
