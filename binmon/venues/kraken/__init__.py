"""Kraken, market data of spot: WebSocket v2 and public REST (reference: other venues, section 2)."""
