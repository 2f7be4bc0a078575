"""The sandbox: a local exchange that speaks the Binance Spot dialect over loopback.

It stands in for the venue in tests, drills and the first run of the daemon. It shares no code with the rest of
the package: the two sides meet only at the protocol. Start with :class:`binmon.sandbox.server.Sandbox` in a
process, or with ``python -m binmon.sandbox`` outside of one.
"""
