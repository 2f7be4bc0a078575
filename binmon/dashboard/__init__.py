"""The web page and its API: a login, what the daemon knows as JSON, and what happens as server-sent events.

It knows messages, not features: what it shows of the daemon comes through `binmon.dashboard.sources.Sources`, which the
wiring implements, and through its inbox. Needs the extra ``binmon[dashboard]`` (Flask, waitress, and the library of the charts).
"""
