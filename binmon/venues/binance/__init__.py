"""Binance Spot: endpoints, REST, market streams, decoding (Spot API documentation of 2026-07-21)."""
