"""The flight recorder: the last seconds of raw market frames, kept in memory and written when something goes wrong.

`FlightRecorder` (flight) notes what a keeper handles in a `Ring`; `IncidentWriter` (writer) puts a ring on disk, in the
form of `lines`; `reading` reads that and plain recordings back, and `Replay` (replay) drives the same machines from them.
"""
