"""Watching the market: candles and trades against the user's lines, and symbols that come and go."""
