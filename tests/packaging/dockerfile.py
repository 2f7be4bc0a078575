"""A Dockerfile as a list of instructions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name in capitals, its options (``--from=build``) and the rest of the line."""

    name: str
    options: dict[str, str]
    value: str

    @property
    def words(self) -> list[str]:
        """The value as the list that JSON says it is (the exec form), else its words."""
        if self.value.startswith("["):
            words: list[str] = json.loads(self.value)
            return words
        return self.value.split()


def parse(path: Path) -> list[list[Instruction]]:
    """The stages, each of which begins with its FROM."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    stages: list[list[Instruction]] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if not line.strip():
            continue
        name, _, value = line.strip().partition(" ")
        options = {}
        while found := re.match(r"--([\w-]+)=(\S+)\s+", value):
            options[found[1]] = found[2]
            value = value[found.end() :]
        instruction = Instruction(name.upper(), options, value.strip())
        if instruction.name == "FROM":
            stages.append([])
        stages[-1].append(instruction)
    return stages


def only(stage: list[Instruction], name: str) -> Instruction:
    """The one instruction of that name."""
    (found,) = [one for one in stage if one.name == name]
    return found
