"""A cluster whose nodes have CDI and NVIDIA's DRA driver, on simulated GPUs, and what the allocation API says of it."""

from collections import Counter

from testbed.gpus import NodeSpec
from testbed.images import DRA_DRIVER
from tests.node.bed import INTERVAL, NAMESPACE, Bed, Config, Object, gpu_pod

NODE = NodeSpec.parse("gpu-1=rtx-3090x2")
DRIVER = "gpu.nvidia.com"
DRIVER_POD = "nvidia-dra-driver"


def stack_file(**config: object) -> Config:
    """One node whose GPUs the DRA driver offers, four times each, at 300 W."""
    node = {"name": "gpu-1", "gpu": "rtx-3090", "count": 2}
    said: Config = {"backend": "dra", "driverImage": DRA_DRIVER, "powerInterval": INTERVAL, "nodes": [node]}
    return said | config


def share_pod(name: str, gpus: int = 1) -> Object:
    """A pod that asks for GPUs as with the device plugin, without a RuntimeClass."""
    pod = gpu_pod(name, gpus=gpus)
    del pod["spec"]["runtimeClassName"]
    return pod


class DraBed(Bed):
    """The cluster and what is deployed on it."""

    def restart_driver(self) -> None:
        """Has the driver's DaemonSet make new pods; waits until these are ready."""
        what = ("-n", NAMESPACE, f"daemonset/{DRIVER_POD}")
        self.output("kubectl", "rollout", "restart", *what)
        self.output("kubectl", "rollout", "status", *what, "--timeout=90s")

    def slices(self) -> list[Object]:
        """The driver's ResourceSlices."""
        return self.get("resourceslices", "--field-selector", f"spec.driver={DRIVER}")["items"]

    def shares(self) -> dict[str, int]:
        """GPU -> how many shares of it its node's ResourceSlice offers."""
        return {
            device["attributes"]["uuid"]["string"]: int(device["capacity"]["shares"]["value"])
            for found in self.slices()
            for device in found["spec"]["devices"]
        }

    def taints(self) -> dict[str, list[Object]]:
        """GPU -> the taints of its device, without their time."""
        return {
            device["attributes"]["uuid"]["string"]: [
                {key: value for key, value in taint.items() if key != "timeAdded"} for taint in device["taints"]
            ]
            for found in self.slices()
            for device in found["spec"]["devices"]
            if device.get("taints")
        }

    def held(self) -> Counter[str]:
        """GPU -> how many shares of it pods hold, as the scheduler wrote it into their ResourceClaims."""
        uuids = {
            (found["spec"]["pool"]["name"], device["name"]): device["attributes"]["uuid"]["string"]
            for found in self.slices()
            for device in found["spec"]["devices"]
        }
        held: Counter[str] = Counter()
        for claim in self.get("resourceclaims")["items"]:
            for result in claim.get("status", {}).get("allocation", {}).get("devices", {}).get("results", []):
                held[uuids[result["pool"], result["device"]]] += int(result["consumedCapacity"]["shares"])
        return held

    def seen(self, pod: str) -> list[str]:
        """The GPUs that nvidia-smi shows in a pod."""
        lines = self.output("kubectl", "exec", pod, "--", "nvidia-smi", "-L").splitlines()
        return [line.partition("UUID: ")[2].rstrip(")") for line in lines]

    def why_pending(self, pod: str) -> str:
        """What the scheduler says of a pod that waits."""
        conditions = self.pods()[pod]["status"].get("conditions", [])
        return " ".join(each.get("message", "") for each in conditions if each["type"] == "PodScheduled")

    def events(self, pod: str) -> str:
        """The words of all events of a pod."""
        found = self.get("events", "--field-selector", f"involvedObject.name={pod}")["items"]
        return " ".join(each["message"] for each in found)

    def restarts(self) -> dict[str, int]:
        """Pod -> how often its container was restarted."""
        return {name: pod["status"]["containerStatuses"][0]["restartCount"] for name, pod in self.pods().items()}
