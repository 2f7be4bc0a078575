"""The written references are those of the declarations."""

from __future__ import annotations

from pathlib import Path

import msgspec

from binmon.config import reference
from binmon.config.schema import Config, Section

ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == reference.reference(), "run: python -m binmon.config.reference > docs/configuration.md"


def test_every_key_is_declared_in_full() -> None:
    seen: list[type[Section]] = []

    def walk(section: type[Section]) -> None:
        seen.append(section)
        for field in msgspec.structs.fields(section):
            if isinstance(field.type, type) and issubclass(field.type, Section):
                walk(field.type)
                continue
            (meta,) = field.type.__metadata__
            assert meta.description
            assert meta.extra["reload"] in ("live", "restart")
            unit = field.name.rpartition("_")[2]
            if unit in ("ms", "s"):
                assert meta.extra["unit"] == unit

    walk(Config)
    assert len(seen) > 12
