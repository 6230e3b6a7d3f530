"""Of which workload a pod is: what a person deployed, which has made what made the pod."""

import re

from gpuctl.cluster import Pod

_HASH = "pod-template-hash"
"""The label with the end of the name of a Deployment's ReplicaSet."""
_RUN = re.compile(r"-\d{8,10}$")
"""The end of the name of a CronJob's Job: minutes since 1970, or seconds before Kubernetes 1.21."""


def workload(pod: Pod) -> str:
    """Such as `Deployment/trainer`; `Pod/NAME` of one that nothing has made."""
    owner = next(iter(pod.metadata.owner_references), None)
    if owner is None:
        return f"Pod/{pod.name}"
    made_by, name = owner.kind, owner.name
    if made_by == "ReplicaSet" and (digest := pod.labels.get(_HASH)) and name.endswith(f"-{digest}"):
        return f"Deployment/{name.removesuffix(f'-{digest}')}"
    if made_by == "Job" and (run := _RUN.search(name)):
        return f"CronJob/{name[: run.start()]}"
    return f"{made_by}/{name}"
