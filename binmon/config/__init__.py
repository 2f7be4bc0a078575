"""The typed configuration: schema, loading, checking."""

from __future__ import annotations

from binmon.config.loading import LoadedConfig, config_hash, effective, load
from binmon.config.schema import Config

__all__ = ["Config", "LoadedConfig", "config_hash", "effective", "load"]
