"""The dialect of Bybit v5, Spot (``category=spot``), over the same matching engine: own books, own accounts."""
