"""A made-up organization: members, usage and bill. Pure functions of its seed and the time."""
