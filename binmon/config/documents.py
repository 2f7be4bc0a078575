"""YAML text as a tree of nodes that know their line, and ``${NAME}`` in its scalars."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from binmon.errors import ConfigError

_VARIABLE = re.compile(r"(\$?)\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\})?")
_TELLING_NAME = re.compile(r"KEY|SECRET|PASS|TOKEN|CREDENTIAL", re.IGNORECASE)


class MissingVariable(Exception):
    """``${NAME}`` without a default, and the environment has no ``NAME``."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


class BadVariable(Exception):
    """``${`` that is not followed by ``NAME}`` or ``NAME:-default}``."""


def compose(text: str, file: str) -> tuple[yaml.Node | None, yaml.SafeLoader | None]:
    """The root node of a YAML document and the loader that resolves its scalars; ``None`` for an empty one.

    Raises :class:`ConfigError` with the line when it is not YAML, or more than one document.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            return loader.get_single_node(), loader
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join((error.problem or error.context or "syntax error").split())
        raise ConfigError(f"not valid YAML: {problem}", file=file, line=mark.line + 1 if mark else None) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"not valid YAML: the character {error.character!r} is not allowed"
        raise ConfigError(problem, file=file, line=line) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", file=file) from error
    except RecursionError as error:
        raise ConfigError("not valid YAML for binmon: nested too deeply", file=file) from error


def expand(text: str, environment: Mapping[str, str]) -> tuple[str, bool, bool]:
    """``text`` with its variables replaced, whether there were any, and whether one has the name of a secret.

    ``${NAME:-default}`` takes the default when NAME is unset or empty, as in a shell; ``$${`` stands for ``${``.
    Raises :class:`MissingVariable` and :class:`BadVariable`.
    """
    found = telling = False

    def value(match: re.Match[str]) -> str:
        nonlocal found, telling
        escaped, name, default = match.groups()
        if escaped:
            return match[0][1:]
        if name is None:
            raise BadVariable
        found = True
        telling = telling or bool(_TELLING_NAME.search(name))
        if default is not None:
            return environment.get(name) or str(default[2:])
        if name not in environment:
            raise MissingVariable(name)
        return environment[name]

    return _VARIABLE.sub(value, text), found, telling
