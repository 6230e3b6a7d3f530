"""What a node in namespaces of one machine, without a network beyond it, needs on top of `talosctl gen config`."""

from typing import Any

Document = dict[str, Any]

_KUBELET = {
    "failCgroupV1": False,  # machines with cgroup v1; Kubernetes 1.35 and later refuse it otherwise
    "logging": {"format": "text"},  # the test bed's kubelet is built without the format json
    "httpCheckFrequency": "1s",  # how often the kubelet asks Talos for static pods; 20 s otherwise
    "nodeStatusUpdateFrequency": "2s",
    "imageGCHighThresholdPercent": 100,
    "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
}
_DELETE = {"$patch": "delete"}
_FIRST_WITH_DOCUMENTS = (1, 14)


def patches(minor: str) -> dict[str, list[Document]]:
    """The patches for configurations of a line of Talos: flag of `talosctl gen config` -> documents.

    Pods run on the control plane as well; network of pods, proxy, DNS and discovery are not Talos'.
    """
    if tuple(map(int, minor.split("."))) < _FIRST_WITH_DOCUMENTS:
        cluster = {
            "allowSchedulingOnControlPlanes": True,
            "network": {"cni": {"name": "none"}},
            "proxy": {"disabled": True},
            "coreDNS": {"disabled": True},
            "discovery": {"enabled": False},
        }
        return {"--config-patch": [{"machine": {"kubelet": {"extraConfig": _KUBELET}}, "cluster": cluster}]}
    return {
        "--config-patch": [
            _document("KubeletConfig", config=_KUBELET),
            _document("DiscoveryServiceConfig", "default", **_DELETE),
        ],
        "--config-patch-control-plane": [
            _document("KubeNodeConfig", taints=_DELETE),
            _document("KubeFlannelCNIConfig", **_DELETE),
            _document("KubeProxyConfig", enabled=False),
            _document("KubeCoreDNSConfig", enabled=False),
        ],
    }


def _document(kind: str, name: str = "", **fields: object) -> Document:
    return {"apiVersion": "v1alpha1", "kind": kind} | ({"name": name} if name else {}) | fields
