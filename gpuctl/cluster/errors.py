"""What a cluster may answer instead of an answer."""


class ClusterError(Exception):
    """The cluster gave no usable answer."""


class UnreachableError(ClusterError):
    """It does not answer, or does not know who asks."""


class AccessDeniedError(ClusterError):
    """It answers that this user may not do that."""


class RejectedError(ClusterError):
    """It understood, and refuses: an admission policy, a conflict, an object it finds invalid."""
