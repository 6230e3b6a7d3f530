"""What a cluster may answer instead of an answer."""


class ClusterError(Exception):
    """The cluster gave no usable answer."""


class UnreachableError(ClusterError):
    """It does not answer, or does not know who asks."""


class AccessDeniedError(ClusterError):
    """It answers that this user may not do that."""


class RejectedError(ClusterError):
    """It understood, and refuses: an admission policy, a conflict, an object it finds invalid."""


class NotFoundError(RejectedError):
    """There is no such object, or no such kind."""


class UnreadableError(ClusterError):
    """It answers, and the answer as a whole is not what it was asked for."""


def one_line(text: object) -> str:
    """What another program said, on one line of bounded length without control characters."""
    words = " ".join(str(text).split())
    plain = "".join(letter if letter.isprintable() else "?" for letter in words)
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}..."


_LONGEST = 400
