"""Recordings: crash-safe segments, Parquet and JSON lines, reader and verification."""

from binmon.recorder.finisher import SegmentFinisher, finish_segment, recover
from binmon.recorder.layout import last_epochs
from binmon.recorder.segment import RecordingFacts
from binmon.recorder.writer import Recorder

__all__ = ["Recorder", "RecordingFacts", "SegmentFinisher", "finish_segment", "last_epochs", "recover"]
