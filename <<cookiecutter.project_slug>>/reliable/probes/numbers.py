"""How people get to know numbers that were counted up to a limit."""

#: A provider counts up to here: so many, or more.
MOST_COUNTED = 10_000


def counted(number: int) -> str:
    """`37`, or `10,000 or more`."""
    return f"{MOST_COUNTED:,} or more" if number >= MOST_COUNTED else f"{number:,}"
