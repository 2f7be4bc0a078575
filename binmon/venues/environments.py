"""Which environment of a venue an address belongs to: that decides whose money an order spends."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass

from binmon.config.checks import is_loopback

# from the one where a mistake costs nothing to the one where it costs money
ENVIRONMENTS = ("sandbox", "testnet", "demo", "production")
_PLAIN_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\](:\d*)?|[A-Za-z0-9.\-]+(:\d*)?")


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of a venue that are known to be harmless."""

    testnet: re.Pattern[str]
    demo: re.Pattern[str]

    def environment_of(self, url: str) -> str:
        """Where requests to ``url`` end up: ``sandbox`` (this machine), ``testnet``, ``demo`` or ``production``.

        What is not known to be harmless is production: an unknown host may be a gateway to it. So is an address that is
        written so unusually that two programs may read two hosts in it.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            host = parts.hostname
            _ = parts.port  # raises for one that is none
        except ValueError:
            return "production"
        if not host or not _PLAIN_HOST.fullmatch(parts.netloc):
            return "production"
        if is_loopback(host):
            return "sandbox"
        if self.testnet.fullmatch(host):
            return "testnet"
        return "demo" if self.demo.fullmatch(host) else "production"

    def environment_of_all(self, urls: Iterable[str], named: str = "sandbox") -> str:
        """The most serious environment of several addresses that are used together; of none it is production.

        ``named`` is what the configuration calls it: an address of this machine may be a tunnel, so production is believed.
        """
        if named == "production":
            return named
        found = [ENVIRONMENTS.index(self.environment_of(url)) for url in urls]
        return ENVIRONMENTS[max(found)] if found else "production"
