"""Requests: key, transport, limits and retries. No other package waits for sockets."""
