"""Bybit v5, category spot (reference: bybit-v5)."""
