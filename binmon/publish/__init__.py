"""Live top of book, given to others."""
