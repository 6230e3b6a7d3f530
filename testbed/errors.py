"""The error a user can fix."""


class BedError(Exception):
    """Something about this machine or this request stops the test bed.

    The message is for the user: what is wrong, why it matters, and the command that fixes it.
    """
