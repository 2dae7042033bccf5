"""The one exception that is shown to people as a sentence instead of a traceback."""


class UserError(Exception):
    """Something a person can mend: its message says what is wrong and what would be right.

    Not a ValueError, which pydantic would wrap in a report of its own.
    """
