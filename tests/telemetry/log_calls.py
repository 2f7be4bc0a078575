"""Every line that binmon may write, read from its source: the calls of loggers, resolved without running them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
METHODS = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
ANY = frozenset(METHODS.values())
NOT_FIELDS = {"exc_info"}


@dataclass(frozen=True)
class LogCall:
    """One call. ``events`` is empty, and ``dynamic`` the expression, where its name is made at run time; ``unresolved`` are
    expressions of fields that could not be read."""

    place: str
    file: str
    events: tuple[str, ...]
    dynamic: str
    levels: frozenset[str]
    certain: frozenset[str]
    possible: frozenset[str]
    unresolved: tuple[str, ...]


class _Module:
    """The calls of one file."""

    def __init__(self, path: Path, root: Path) -> None:
        self.file = str(path.relative_to(root))
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        self.functions = {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)}

    def loggers(self) -> Iterator[str]:
        """What is given to ``structlog.get_logger``."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "structlog.get_logger":
                yield ast.literal_eval(node.args[0])

    def calls(self) -> Iterator[LogCall]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and (levels := self._levels(node.func, node)):
                yield self._call(node, levels)

    def _call(self, node: ast.Call, levels: frozenset[str]) -> LogCall:
        events, dynamic = self._events(node.args[0]) if len(node.args) == 1 else ((), ast.unparse(node))
        certain: set[str] = set()
        possible: set[str] = set()
        unresolved: list[str] = []
        for keyword in node.keywords:
            if keyword.arg is not None:
                certain.add(keyword.arg)
                continue
            found = self._keys(keyword.value, node)
            if found is None:
                unresolved.append(ast.unparse(keyword.value))
            else:
                certain |= found[0]
                possible |= found[1]
        return LogCall(
            f"{self.file}:{node.lineno}", self.file, events, dynamic, levels,
            frozenset(certain - NOT_FIELDS), frozenset((certain | possible) - NOT_FIELDS), tuple(unresolved),
        )  # fmt: skip

    def _levels(self, function: ast.expr, near: ast.AST) -> frozenset[str]:
        """The levels that a call of ``function`` writes at; nothing if it is no method of a logger."""
        match function:
            case ast.Attribute(value=ast.Name(id="log" | "_log"), attr=attribute) if attribute in METHODS:
                return frozenset({METHODS[attribute]})
            case ast.IfExp(body=one, orelse=other):
                return self._levels(one, near) | self._levels(other, near)
            case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id="log" | "_log"), *_]):
                return ANY
            case ast.Name(id=name):
                return frozenset().union(*(self._levels(value, near) for value in self._assigned(name, near)))
        return frozenset()

    def _events(self, argument: ast.expr) -> tuple[tuple[str, ...], str]:
        match argument:
            case ast.Constant(value=str(name)):
                return (name,), ""
            case ast.IfExp(body=ast.Constant(value=str(one)), orelse=ast.Constant(value=str(other))):
                return (one, other), ""
            case ast.Name(id=name) if name.isupper() or name.lstrip("_").isupper():
                constants = self._constants()
                if name in constants:
                    return (constants[name],), ""
        return (), ast.unparse(argument)

    def _constants(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for node in self.tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                    found[name] = text
                case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                    for one, value in zip(names, values, strict=True):
                        if isinstance(one, ast.Name) and isinstance(value, ast.Constant):
                            found[one.id] = str(value.value)
        return found

    def _keys(self, mapping: ast.expr, near: ast.AST) -> tuple[set[str], set[str]] | None:
        """The keys that ``mapping`` has for certain, and those that it may have; None when that cannot be read."""
        match mapping:
            case ast.Dict(keys=keys) if all(isinstance(key, ast.Constant) for key in keys):
                names = {str(key.value) for key in keys if isinstance(key, ast.Constant)}
                return names, names
            case ast.IfExp(body=one, orelse=other):
                found = self._keys(one, near), self._keys(other, near)
                return None if None in found else self._either(found)  # type: ignore[arg-type]
            case ast.Name(id=name):
                values = [self._keys(value, near) for value in self._assigned(name, near)]
                return None if None in values or not values else self._either(values)  # type: ignore[arg-type]
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                returned = [node.value for node in ast.walk(self.functions[name]) if isinstance(node, ast.Return)]
                values = [self._keys(value, self.functions[name]) for value in returned if value is not None]
                return None if None in values or not values else self._either(values)  # type: ignore[arg-type]
        return None

    @staticmethod
    def _either(found: list[tuple[set[str], set[str]]]) -> tuple[set[str], set[str]]:
        return set.intersection(*(one[0] for one in found)), set().union(*(one[1] for one in found))

    def _assigned(self, name: str, near: ast.AST) -> Iterator[ast.expr]:
        """What ``name`` is set to in the function around ``near``."""
        scope: ast.AST = near
        while not isinstance(scope, ast.FunctionDef | ast.Module):
            scope = self.parents[scope]
        if isinstance(near, ast.FunctionDef):
            scope = near
        for node in ast.walk(scope):
            match node:
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        match target, value:
                            case ast.Name(id=given), _ if given == name:
                                yield value
                            case ast.Tuple(elts=names), ast.Tuple(elts=values):
                                for one, each in zip(names, values, strict=False):
                                    if isinstance(one, ast.Name) and one.id == name:
                                        yield each
                case ast.AnnAssign(target=ast.Name(id=given), value=ast.expr() as value) if given == name:
                    yield value


def modules(root: Path = ROOT) -> list[_Module]:
    """All of binmon but the sandbox, which logs for itself, and what makes the log."""
    paths = sorted((root / "binmon").rglob("*.py"))
    return [
        _Module(path, root)
        for path in paths
        if not {"sandbox", "telemetry/logging.py"} & {path.parts[len(root.parts) + 1], "/".join(path.parts[-2:])}
    ]
