"""Requests: key, transport, limits, retries. The client waits for sockets in no other package."""
