"""REST with a rate ledger, and WebSocket streams with our own frame cutter."""
