"""Log set-up and the vocabulary of log events."""
