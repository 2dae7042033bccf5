"""What is said to people in a sentence instead of a traceback."""

import re


class UserError(Exception):
    """Something a person can mend: its message says what is wrong and what would be right.

    Not a ValueError, which pydantic would wrap in a report of its own.
    """


class Rejected(Exception):
    """One image that cannot be used; the message continues "NAME …": "is cut short".

    Readers raise it for the image asked for; the others are used.
    """


def without_password(text: str) -> str:
    """An address, or words with one, without the name and the password in it.

    >>> without_password("http://bob:secret@127.0.0.1:5000 is gone")
    'http://…@127.0.0.1:5000 is gone'
    >>> without_password("postgresql://bob:se/cret@host/db and sqlite:////tmp/mlflow.db")
    'postgresql://…@host/db and sqlite:////tmp/mlflow.db'
    """
    return re.sub(r"(?<=://)(?:[^/@\s:]*:[^@\s]*|[^/@\s]*)@", "…@", text)
