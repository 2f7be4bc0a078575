"""From YAML nodes to sections: every value checked against its declaration, every error with line and key.

The schema is walked along ``msgspec.inspect``; msgspec's own conversion would find the same mistakes, but could
name neither the line nor, for a value that came from the environment, the type that its key expects.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec.inspect as inspection
import yaml

from binmon.config.documents import BadVariable, MissingVariable, expand
from binmon.config.schema import Config
from binmon.errors import ConfigError

_INTEGER = re.compile(r"[+-]?[0-9][0-9_]*")
_NUMBER = re.compile(r"[+-]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_LONGEST_SHOWN = 60
_MOST_DIGITS = 18
"""What surely fits into 64 bits."""


class Scalar:
    """One scalar of the file: its text after expansion, and what YAML takes it for."""

    def __init__(self, node: yaml.ScalarNode, text: str, expanded: bool, hidden: bool) -> None:
        self.text, self.expanded, self.hidden = text, expanded, hidden
        self.plain = node.style is None
        self.tag = "tag:yaml.org,2002:str" if expanded else node.tag

    @property
    def kind(self) -> str:
        """``str``, ``int``, ``float``, ``bool``, ``null`` or another tag of YAML."""
        return self.tag.rpartition(":")[2]

    def shown(self) -> str:
        """The value as an error message may show it."""
        if self.hidden:
            return "another value (not shown)"
        text = self.text if len(self.text) <= _LONGEST_SHOWN else self.text[:_LONGEST_SHOWN] + "…"
        if self.kind == "null":
            return "nothing"
        return repr(text) if self.kind == "str" else text


class Decoder:
    """Decodes one file. ``lines`` then maps each dotted key that the file has to its line."""

    def __init__(self, file: str, environment: Mapping[str, str], loader: yaml.SafeLoader) -> None:
        self.file = file
        self.lines: dict[str, int] = {}
        self._environment = environment
        self._loader = loader

    def decode(self, root: yaml.Node) -> Config:
        """The configuration of the document ``root``; raises :class:`ConfigError` for the first mistake."""
        config = self._value(root, inspection.type_info(Config), "", secret=False)
        assert isinstance(config, Config)
        return config

    def _fail(self, problem: str, path: str, node: yaml.Node) -> NoReturn:
        raise ConfigError(problem, key=path, file=self.file, line=node.start_mark.line + 1)

    def _value(self, node: yaml.Node, expected: inspection.Type, path: str, *, secret: bool) -> Any:
        if path:
            self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(expected, inspection.Metadata):
            secret = secret or bool((expected.extra or {}).get("secret"))
            return self._value(node, expected.type, path, secret=secret)
        choices = _choices(expected)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, expected, choices, path, secret=secret)
        if isinstance(node, yaml.SequenceNode):
            for choice in choices:
                if isinstance(choice, inspection.VarTupleType):
                    return self._sequence(node, choice, path, secret=secret)
            self._fail(f"expected {describe(expected)}, got a list", path, node)
        assert isinstance(node, yaml.MappingNode)
        for choice in choices:
            if isinstance(choice, inspection.DictType):
                return self._mapping(node, choice, path)
        sections = [choice for choice in choices if isinstance(choice, inspection.StructType)]
        if not sections:
            self._fail(f"expected {describe(expected)}, got keys and values", path, node)
        return self._section(node, sections, path)

    def _sequence(self, node: yaml.SequenceNode, expected: inspection.VarTupleType, path: str, *, secret: bool) -> Any:
        if expected.min_length and len(node.value) < expected.min_length:
            self._fail(f"expected {describe(expected)}, got an empty list", path, node)
        items = enumerate(node.value)
        return tuple(self._value(item, expected.item_type, f"{path}[{i}]", secret=secret) for i, item in items)

    def _mapping(self, node: yaml.MappingNode, expected: inspection.DictType, path: str) -> dict[str, Any]:
        """Names of the user's own choice with a value each."""
        self._refuse_duplicates(node, path)
        items = ((_name(key), value) for key, value in node.value)
        return {name: self._value(value, expected.value_type, f"{path}.{name}", secret=False) for name, value in items}

    def _section(self, node: yaml.MappingNode, sections: list[inspection.StructType], path: str) -> Any:
        self._refuse_duplicates(node, path)
        try:
            self._loader.flatten_mapping(node)  # resolves "<<", the merge key of YAML
        except yaml.MarkedYAMLError as error:
            self._fail(f"not valid YAML: {error.problem}", f"{path}.<<" if path else "<<", node)
        values = {_name(key): (key, value) for key, value in node.value}
        section = sections[0]
        if section.tag_field is not None:
            section = self._tagged(node, values, sections, path)
        known = {field.name: field for field in section.fields}
        decoded: dict[str, Any] = {}
        for name, (key, value) in values.items():
            dotted = f"{path}.{name}" if path else name
            if name == section.tag_field:
                continue
            if name not in known:
                self._fail(_unknown(name, [*known, *filter(None, [section.tag_field])]), dotted, key)
            self.lines[dotted] = key.start_mark.line + 1
            decoded[name] = self._value(value, known[name].type, dotted, secret=False)
        for field in section.fields:
            if field.required and field.name not in decoded:
                expected = describe(field.type)
                self._fail(f"is missing, expected {expected}", f"{path}.{field.name}" if path else field.name, node)
        return section.cls(**decoded)

    def _refuse_duplicates(self, node: yaml.MappingNode, path: str) -> None:
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._fail("expected the name of a key, got a list or keys and values", path, key)
            if key.value in first:
                dotted = f"{path}.{key.value}" if path else key.value
                self._fail(f"given twice, the first time on line {first[key.value]}", dotted, key)
            first[key.value] = key.start_mark.line + 1

    def _tagged(
        self,
        node: yaml.MappingNode,
        values: dict[str, tuple[yaml.Node, yaml.Node]],
        sections: list[inspection.StructType],
        path: str,
    ) -> inspection.StructType:
        tag_field = str(sections[0].tag_field)
        dotted = f"{path}.{tag_field}"
        names = inspection.LiteralType(tuple(str(section.tag) for section in sections))
        if tag_field not in values:
            self._fail(f"is missing, expected {describe(names)}", dotted, node)
        tag = self._value(values[tag_field][1], names, dotted, secret=False)
        return next(section for section in sections if section.tag == tag)

    def _scalar(
        self,
        node: yaml.ScalarNode,
        expected: inspection.Type,
        choices: tuple[inspection.Type, ...],
        path: str,
        *,
        secret: bool,
    ) -> Any:
        try:
            text, expanded, telling = expand(node.value, self._environment)
        except MissingVariable as missing:
            advice = f"set it, or write ${{{missing.name}:-default}}"
            self._fail(f"the environment variable {missing.name} is not set; {advice}", path, node)
        except BadVariable:
            self._fail("expected ${NAME} or ${NAME:-default} after ${ (a plain ${ is written $${)", path, node)
        scalar = Scalar(node, text, expanded, hidden=secret or telling)
        empty = scalar.kind == "null" or (expanded and not text)
        for choice in choices:
            if isinstance(choice, inspection.NoneType) and empty:
                return None
            if isinstance(choice, inspection.DictType) and scalar.kind == "null":
                return {}
            if isinstance(choice, inspection.StructType) and scalar.kind == "null" and len(choices) == 1:
                return self._section(yaml.MappingNode("", [], node.start_mark, node.end_mark), [choice], path)
        if expanded and (split := _split(text, choices)) is not None:
            return split
        for choice in choices:
            converted = _convert(scalar, choice)
            if converted is not None:
                return converted
        return self._fail(f"expected {describe(expected)}, got {scalar.shown()}", path, node)


def _choices(expected: inspection.Type) -> tuple[inspection.Type, ...]:
    if isinstance(expected, inspection.Metadata):
        return _choices(expected.type)
    if isinstance(expected, inspection.UnionType):
        return tuple(choice for one in expected.types for choice in _choices(one))
    return (expected,)


def _split(text: str, choices: tuple[inspection.Type, ...]) -> tuple[str, ...] | None:
    """A list of names that came from the environment as ``A,B``; ``all`` and ``all:QUOTE`` are not lists."""
    lists = [choice for choice in choices if isinstance(choice, inspection.VarTupleType)]
    if not lists or not isinstance(_choices(lists[0].item_type)[0], inspection.StrType):
        return None
    if len(choices) > 1 and (text == "all" or text.startswith("all:")):
        return None
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _convert(scalar: Scalar, expected: inspection.Type) -> Any:
    """The scalar as the type of its key, or None when it is not one."""
    text, kind = scalar.text, scalar.kind
    if isinstance(expected, inspection.LiteralType):
        return text if kind == "str" and text in expected.values else None
    if isinstance(expected, inspection.StrType):
        return text if kind == "str" and len(text) >= (expected.min_length or 0) else None
    if isinstance(expected, inspection.BoolType):
        return _WORDS.get(text.lower()) if kind == "bool" or scalar.expanded else None
    if isinstance(expected, inspection.IntType):
        whole = _INTEGER.fullmatch(text.strip()) if kind == "int" or scalar.expanded else None
        return _within(int(whole[0]), expected) if whole and len(whole[0]) <= _MOST_DIGITS else None
    if isinstance(expected, inspection.FloatType):
        # YAML 1.1 takes 1e3 for a string; only quotes make it one here.
        numeric = kind in ("int", "float") or scalar.expanded or (kind == "str" and scalar.plain)
        number = _NUMBER.fullmatch(text.strip()) if numeric else None
        return _within(float(number[0].replace("_", "")), expected) if number else None
    return None


def _within(number: Any, expected: inspection.IntType | inspection.FloatType) -> Any:
    inside = (
        math.isfinite(number)
        and (expected.ge is None or number >= expected.ge)
        and (expected.gt is None or number > expected.gt)
        and (expected.le is None or number <= expected.le)
        and (expected.lt is None or number < expected.lt)
    )
    return number if inside else None


def _name(key: yaml.Node) -> str:
    return str(key.value)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"unknown key, did you mean {near[0]}?"
    return f"unknown key, expected one of {', '.join(known)}" if known else "unknown key, expected none here"


def describe(expected: inspection.Type) -> str:
    """What a key takes, in words: ``an integer from 1 to 5000``, ``one of json, console``."""
    if isinstance(expected, inspection.Metadata):
        return describe(expected.type)
    if isinstance(expected, inspection.UnionType):
        parts = [describe(one) for one in expected.types if not isinstance(one, inspection.NoneType)]
        nothing = ["null"] if len(parts) < len(expected.types) else []
        tagged = [_choices(one)[0] for one in expected.types]
        if all(isinstance(one, inspection.StructType) and one.tag for one in tagged):
            return f"keys and values with {tagged[0].tag_field}"  # type: ignore[attr-defined]
        return " or ".join(parts + nothing)
    if isinstance(expected, inspection.LiteralType):
        return f"one of {', '.join(str(value) for value in expected.values)}"
    if isinstance(expected, inspection.IntType):
        return "an integer" + _range(expected)
    if isinstance(expected, inspection.FloatType):
        return "a number" + _range(expected)
    if isinstance(expected, inspection.BoolType):
        return "true or false"
    if isinstance(expected, inspection.StrType):
        return "a text that is not empty" if expected.min_length else "a text"
    if isinstance(expected, inspection.VarTupleType):
        item = _choices(expected.item_type)
        of = "texts" if isinstance(item[0], inspection.StrType) else describe(expected.item_type)
        return f"a list of {of}"
    if isinstance(expected, inspection.DictType):
        return f"names, each with {describe(expected.value_type)}"
    return "keys and values"


def _range(expected: inspection.IntType | inspection.FloatType) -> str:
    if expected.ge is not None and expected.le is not None:
        return f" from {expected.ge} to {expected.le}"
    if expected.ge is not None:
        return f" of at least {expected.ge}"
    most = f" and at most {expected.le}" if expected.le is not None else ""
    return f" above {expected.gt}{most}" if expected.gt is not None else ""
