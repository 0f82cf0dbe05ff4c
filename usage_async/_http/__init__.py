"""Requests: the key, the network, limits, retries. The only package that waits for sockets."""
