"""Finding, reading and checking the configuration file.

Where a value comes from, the first that has it: the file (with ``${NAME}`` expanded from the environment, then from
``.env`` beside the file), a systemd credential, the environment variable of the key, the default of the schema.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dotenv
import msgspec
import yaml

from binmon.config.checks import problems
from binmon.config.decoding import Decoder
from binmon.config.documents import compose
from binmon.config.places import is_there
from binmon.config.schema import Config, Section, Sink, fields_with_secrecy, masked
from binmon.errors import ConfigError

SEARCHED = (Path("config.yaml"), Path("/etc/binmon/config.yaml"))
_CREDENTIAL_KEYS = ("api_key", "api_secret")
_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that passed every check, and where it comes from.

    ``config_hash`` tells effective configurations apart (secrets are masked first, so a new secret does not change
    it). ``lines`` are the dotted keys that the file itself has (``books``, ``books.symbols``, …) and where they stand.
    """

    config: Config
    path: Path
    config_hash: str
    lines: Mapping[str, int]

    @property
    def present_keys(self) -> Collection[str]:
        """The dotted keys that the file itself has."""
        return self.lines.keys()

    def placed(self, error: ConfigError) -> ConfigError:
        """``error`` with file and line, where it is about a key of this file and does not say so yet."""
        if error.file or error.key.split(".")[0] not in Config.__struct_fields__:
            return error
        return ConfigError(error.problem, key=error.key, file=str(self.path), line=_line(error.key, self.lines))


def load(path: Path | None, environment: Mapping[str, str]) -> LoadedConfig:
    """The configuration of ``path``, or of the first file of ``SEARCHED`` that exists.

    Raises :class:`ConfigError` for the first mistake: one line with file, line, key and what was expected.
    """
    found = path if path is not None else _search()
    file = str(found)
    text = _read(found, "expected a YAML file")
    variables = {**_dotenv(found.parent / ".env"), **environment}
    config, lines = _decode(text, file, variables)
    config = _fill(config, lines, variables, file)
    for key, problem in problems(config, lines.keys()):
        raise ConfigError(problem, key=key, file=file, line=_line(key, lines))
    return LoadedConfig(config, found, config_hash(config), lines)


def effective(config: Config) -> dict[str, Any]:
    """The whole configuration as plain values, defaults included and secrets masked as ``***``."""
    plain: dict[str, Any] = shown(config)
    return plain


def shown(value: Any) -> Any:
    """A section, or the value of a key, in plain types as it may be shown: secrets inside of sections are masked.

    A bare value is taken as it is: whoever has a secret masks it before (`binmon.config.schema.masked`).
    """
    if isinstance(value, Section):
        plain = {"kind": value.kind} if isinstance(value, Sink) else {}
        return plain | {name: shown(masked(one, secret)) for name, one, secret in fields_with_secrecy(value)}
    return [shown(one) for one in value] if isinstance(value, tuple) else value


def config_hash(config: Config) -> str:
    """The first twelve hexadecimal digits of the SHA-256 of the effective configuration, secrets masked."""
    text = json.dumps(effective(config), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def _search() -> Path:
    for path in SEARCHED:
        if is_there(path):
            return path
    looked = " nor ".join(str(path) for path in SEARCHED)
    raise ConfigError(f"no configuration: neither {looked} exists, expected one of them or -c FILE")


def _read(path: Path, expected: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}; {expected}", file=str(path)) from error
    except ValueError as error:  # not UTF-8, or a NUL in the name of the file
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        line = error.object.count(b"\n", 0, error.start) + 1 if isinstance(error, UnicodeDecodeError) else None
        raise ConfigError(f"cannot be read: {reason}; {expected}", file=str(path), line=line) from error


def _dotenv(path: Path) -> dict[str, str]:
    if not is_there(path):
        return {}
    text = _read(path, "expected NAME=value lines")
    values = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


def _decode(text: str, file: str, variables: Mapping[str, str]) -> tuple[Config, dict[str, int]]:
    root, loader = compose(text, file)
    if root is None or loader is None:
        return Config(), {}
    if not isinstance(root, yaml.MappingNode) and root.tag != "tag:yaml.org,2002:null":
        raise ConfigError("expected sections with keys and values", file=file, line=root.start_mark.line + 1)
    decoder = Decoder(file, variables, loader)
    return decoder.decode(root), decoder.lines


def _line(key: str, lines: Mapping[str, int]) -> int | None:
    """The line of a key, or of the nearest section around it that the file has."""
    while key:
        if key in lines:
            return lines[key]
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return None


def _fill(config: Config, lines: Mapping[str, int], variables: Mapping[str, str], file: str) -> Config:
    """Fill empty API keys: from systemd credentials, else, where the file leaves them out, from the environment."""
    directory = variables.get("CREDENTIALS_DIRECTORY")
    filled: dict[str, Any] = {}
    for name in config.venues.__struct_fields__:
        venue = getattr(config.venues, name)
        changes: dict[str, str] = {}
        for key in _CREDENTIAL_KEYS:
            if not hasattr(venue, key):
                continue  # market data only: no keys
            if getattr(venue, key) or (key == "api_secret" and getattr(venue, "private_key_file", None)):
                continue
            value = _credential(directory, f"{name}_{key}")
            if not value and f"venues.{name}.{key}" not in lines:
                value = variables.get(_variable(venue, key), "")
            if value:
                changes[key] = value
        filled[name] = msgspec.structs.replace(venue, **changes)
    return msgspec.structs.replace(config, venues=msgspec.structs.replace(config.venues, **filled))


def _credential(directory: str | None, name: str) -> str:
    if not directory:
        return ""
    path = Path(directory) / name
    return _read(path, "expected a systemd credential").strip() if is_there(path) else ""


def _variable(venue: Section, key: str) -> str:
    field = next(field for field in msgspec.structs.fields(type(venue)) if field.name == key)
    meta = field.type.__metadata__[0]
    return str(meta.extra["variable"])
