"""OKX v5, market data of spot: the public WebSocket and REST (reference: other venues, section 1)."""
