"""One request, as what answers it sees it."""

from __future__ import annotations

from dataclasses import dataclass

from ..parameters import Parameters
from .accounts import Account, ApiKey


@dataclass(frozen=True)
class Call:
    """One authorized request; ``micro`` asks for times in microseconds."""

    parameters: Parameters
    account: Account | None
    key: ApiKey | None
    micro: bool
