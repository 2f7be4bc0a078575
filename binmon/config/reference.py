"""The reference of all keys. ``python -m binmon.config.reference > docs/configuration.md`` writes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import msgspec.inspect as inspection

from binmon.config.decoding import describe
from binmon.config.schema import Config, Section

_HEAD = """\
# Configuration

<!-- Written by `python -m binmon.config.reference > docs/configuration.md`; edit binmon/config/schema.py. -->

binmon reads the file given with `-c`, else `./config.yaml`, else `/etc/binmon/config.yaml`. Every section and key has
a default and may be left out; an unknown key is an error. `binmon check` validates a file and prints what is in force.

* `${NAME}` takes an environment variable, `${NAME:-default}` a default where it is unset or empty; `$${` is a plain
  `${`. The value takes the type of its key; a list of names is written `A,B`.
* `.env` beside the file is read; the real environment wins.
* An empty `api_key` or `api_secret` is filled from the systemd credential `binance_api_key`, `binance_api_secret`,
  `bybit_api_key` or `bybit_api_secret`; one that the file leaves out also from the variable of that name in upper case.
* Keys marked 🔒 are never printed.
* *Reload* says whether SIGHUP applies a changed value to the running daemon (live), or it needs a restart.
"""


def reference() -> str:
    """The page ``docs/configuration.md``."""
    root = inspection.type_info(Config)
    assert isinstance(root, inspection.StructType)
    return _HEAD + "\n".join(_section(root, "")) + "\n"


def _section(section: inspection.StructType, path: str) -> Iterator[str]:
    nested: list[tuple[inspection.StructType, str]] = []
    rows: list[str] = []
    for field in section.fields:
        dotted = f"{path}.{field.name}" if path else field.name
        if isinstance(field.type, inspection.StructType):
            nested.append((field.type, dotted))
            continue
        rows.append(_row(field))
        nested.extend((item, f"{dotted}[]") for item in _items(field.type))
    if path:
        kind = f" (`kind: {section.tag}`)" if section.tag else ""
        yield from ("", f"## {path}{kind}", "", " ".join((section.cls.__doc__ or "").split()))
    if rows:
        yield from ("", "| key | takes | default | unit | reload | meaning |", "|---|---|---|---|---|---|", *rows)
    for child, dotted in nested:
        yield from _section(child, dotted)


def _items(expected: inspection.Type) -> list[inspection.StructType]:
    """The sections that a list of this type holds."""
    if isinstance(expected, inspection.Metadata):
        return _items(expected.type)
    if isinstance(expected, inspection.UnionType):
        return [item for one in expected.types for item in _items(one)]
    if isinstance(expected, inspection.VarTupleType):
        return _items(expected.item_type)
    return [expected] if isinstance(expected, inspection.StructType) else []


def _row(field: inspection.Field) -> str:
    assert isinstance(field.type, inspection.Metadata)
    extra = field.type.extra or {}
    description = (field.type.extra_json_schema or {}).get("description", "")
    lock = " 🔒" if extra.get("secret") else ""
    default = "(must be given)" if field.required else f"`{_default(field)}`"
    cells = (
        f"`{field.name}`{lock}",
        describe(field.type),
        default,
        extra.get("unit") or "",
        extra["reload"],
        description,
    )
    return f"| {' | '.join(cells)} |"


def _default(field: inspection.Field) -> str:
    made = field.default_factory is not msgspec.NODEFAULT
    return json.dumps(_plain(field.default_factory() if made else field.default), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return msgspec.to_builtins(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


if __name__ == "__main__":
    sys.stdout.write(reference())
