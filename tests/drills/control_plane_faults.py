"""Faults of the control plane, and of what stands between it and the nodes."""

import json
import time

from tests.drills.drill import Fault, drill
from tests.drills.field import Field
from tests.node.bed import PLUGIN, gpu_pod

_WEBHOOK = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "drill"},
    "webhooks": [
        {
            "name": "pods.drill.example",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 1,
            "failurePolicy": "Fail",
            "clientConfig": {"service": {"name": "nobody", "namespace": "default"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        }
    ],
}


@drill("API server stopped for 30 s, limit moved meanwhile")
def api_server_stopped(field: Field) -> None:
    field.control_plane.stop("kube-apiserver")
    gpu = field.bed.gpus("gpu-1")[0]
    gpu.drift(350)
    field.wait(lambda: gpu.power_limit == 300, 60)
    time.sleep(20)
    field.control_plane.up(field.cluster.kubeconfig)


@drill("etcd killed, 8 s down")
def etcd_killed(field: Field) -> None:
    field.control_plane.stop("etcd")
    time.sleep(8)
    field.control_plane.up(field.cluster.kubeconfig)


@drill("admission webhook down, plugin pod deleted meanwhile", within=300)
def webhook_down(field: Field) -> Fault:
    field.bed.output("kubectl", "create", "-f", "-", text=json.dumps(_WEBHOOK))
    try:
        name = field.bed.name_of(PLUGIN, "gpu-1")
        field.bed.output("kubectl", "delete", "pod", "-n", "gpu-device-plugin", name)
        time.sleep(10)
        yield
    finally:
        field.bed.output("kubectl", "delete", "validatingwebhookconfiguration", "drill")


@drill("2000 events in the stack's namespace")
def many_events(field: Field) -> Fault:
    about = {"kind": "DaemonSet", "name": PLUGIN, "namespace": "gpu-device-plugin"}
    events = [
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"drill-{number}", "namespace": "gpu-device-plugin", "labels": {"drill": "yes"}},
            "involvedObject": about,
            "type": "Warning",
            "reason": "Drill",
            "message": f"number {number}",
        }
        for number in range(2000)
    ]
    everything = {"apiVersion": "v1", "kind": "List", "items": events}
    field.bed.output("kubectl", "create", "-f", "-", text=json.dumps(everything))
    yield
    of_the_drill = "/api/v1/namespaces/gpu-device-plugin/events?labelSelector=drill%3Dyes"
    field.bed.output("kubectl", "delete", "--raw", of_the_drill)  # one request, and not 2000


@drill("200 GPU pods come and go", within=180)
def churn(field: Field) -> None:
    """In each turn more than there are free slices."""
    for turn in range(10):
        names = [f"churn-{turn}-{number}" for number in range(20)]
        field.bed.create(*(gpu_pod(name) for name in names))
        time.sleep(4)
        field.bed.output("kubectl", "delete", "pod", "--wait=false", *names)
