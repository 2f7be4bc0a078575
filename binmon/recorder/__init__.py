"""Recordings: crash-safe segments, Parquet and JSON lines, reader and verification."""
