"""Commands of `usage-async`, one file each."""
