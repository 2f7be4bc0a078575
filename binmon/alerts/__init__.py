"""Who is told of what: signals about conditions become messages to people, over any number of services.

``rules`` decides what is worth a message (a machine without I/O), ``dispatcher`` pumps it and writes the log,
``delivery`` brings messages to one target each, ``targets`` knows the services, and ``silence`` keeps those from
telling URLs.
"""
