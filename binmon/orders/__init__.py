"""Sending orders: the safety limits that none passes by, the desk that sends and finds out, and the user-data stream."""
