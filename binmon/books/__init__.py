"""Order books: the book, the resync machine, and the worker that keeps many of them."""
