"""The typed configuration: schema, loading, checking."""
