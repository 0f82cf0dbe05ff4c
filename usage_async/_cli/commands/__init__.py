"""The commands of `usage-async`, a file each."""
