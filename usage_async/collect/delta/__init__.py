"""Store in Delta Lake. The theory of operation is in `backend`."""
