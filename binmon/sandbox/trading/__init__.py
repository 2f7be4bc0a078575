"""The private side of the sandbox: accounts, keys, orders and what they cause (reference: Binance Spot, 2, 3, 7, 9).

:mod:`.operations` is the door: the table of everything a signed request can ask for. REST and the WebSocket API read
their requests, let :class:`~.operations.PrivateSide` authorize them, and run the operation.
"""
