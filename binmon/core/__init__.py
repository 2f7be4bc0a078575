"""Workers, supervision, bounded channels, backoff and deadlines: no knowledge of venues or books."""
