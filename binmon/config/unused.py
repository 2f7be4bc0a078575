"""What a configuration may have and this version does nothing with."""

from __future__ import annotations

from collections.abc import Iterator

from binmon.config.schema import Config, LogSink


def unused(config: Config) -> Iterator[tuple[str, str]]:
    """Key and reason of each."""
    for index, sink in enumerate(config.publish.sinks):
        if not isinstance(sink, LogSink):
            yield f"publish.sinks[{index}]", f"sinks of kind {sink.kind} are not part of this version"
