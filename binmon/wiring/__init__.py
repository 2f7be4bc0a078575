"""The rooms of the wiring page: each builds one part of the daemon from the configuration and connects its queues.

`binmon.daemon` decides what is built and runs it; nothing else imports these.
"""
