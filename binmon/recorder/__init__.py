"""Recordings: crash-safe segments, Parquet and JSON lines, reader and verification."""

from binmon.recorder.segment import RecordingFacts
from binmon.recorder.writer import Recorder

__all__ = ["Recorder", "RecordingFacts"]
