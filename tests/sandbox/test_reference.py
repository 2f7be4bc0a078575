from pathlib import Path

from binmon.sandbox.bybit.fault_kinds import KINDS as BYBIT_KINDS
from binmon.sandbox.fault_kinds import EVENT_ORDER, KINDS
from binmon.sandbox.reference import reference

ROOT = Path(__file__).parents[2]


def test_page_is_the_one_written_from_the_table():
    page = (ROOT / "docs/sandbox.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m binmon.sandbox.reference > docs/sandbox.md"


def test_every_kind_and_option_is_on_it():
    page = reference()
    sides = page.split("## The Bybit side")
    assert len(sides) == 2
    for side, kinds in zip(sides, (KINDS, BYBIT_KINDS), strict=True):
        for name, kind in kinds.items():
            [row] = [line for line in side.splitlines() if line.startswith(f"| `{name}` |")]
            assert all(f"`{option}`" in row for option in kind.options)
    assert " → ".join(f"`{kind}`" for kind in EVENT_ORDER) in page
    assert "`--generate N`" in page and "`--bybit-port N`" in page and "`--life-s X`" in page
