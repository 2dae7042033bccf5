"""What is said to people in a sentence instead of a traceback."""


class UserError(Exception):
    """Something a person can mend: its message says what is wrong and what would be right.

    Not a ValueError, which pydantic would wrap in a report of its own.
    """


class Rejected(Exception):
    """One image that cannot be used; the message continues "NAME …": "is cut short".

    Readers raise it for the image asked for; the others are used.
    """
