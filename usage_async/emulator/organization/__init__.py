"""A made-up organization: who belongs to it, what it uses, what it pays. Pure."""
