"""One stack file in, the GPU sharing of one cluster out."""

import pulumi
import pulumi_kubernetes

from components.program import consult_cluster, no_ambient_kubeconfig, require_service, stack_desired
from components.stack import GpuStack

desired = stack_desired()
seen = consult_cluster(desired)

with no_ambient_kubeconfig():
    cluster = pulumi_kubernetes.Provider(
        "cluster",
        context=desired.settings.context,
        kubeconfig=desired.settings.kubeconfig,
        enable_config_map_mutable=True,  # else other slices replace ConfigMap and DaemonSets, on all nodes at once
    )
stack = GpuStack("gpu", desired, pulumi.ResourceOptions(providers=[cluster]))
require_service(desired, stack)

for name, value in (seen | stack.outputs).items():
    pulumi.export(name, value)
