"""What a stack file asks of a cluster's GPUs, and what the cluster does about it. Never imports Pulumi."""

__version__ = "0.1.0"
