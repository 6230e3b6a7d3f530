"""The coexistence proof, judged: what the pods that took every free slice have shown."""

from collections.abc import Iterator

from gpuctl.checks.context import Context
from gpuctl.checks.model import Category, Check, Result, checks_of, counted, failed, listed, passed, skipped
from gpuctl.checks.own_pods import name_on
from gpuctl.sharing.record import NodeRun, PodRun, Record

SHARING = Category("sharing", "the coexistence proof")

_VERIFY = "gpuctl verify --sharing --stack lab"


@Check(
    "SHR001",
    SHARING,
    "a pod runs in every free slice",
    cause="The node offers a slice that no pod can use",
    example="gpu-1: 7 of 8 pods run; share-8: UnexpectedAdmissionError: no healthy devices present",
    confirm=("kubectl --context admin@lab describe node gpu-1", "gpuctl doctor --stack lab"),
    fix=(
        "Do what `gpuctl doctor --stack lab` says of the node.",
        "A slice that another pod holds is no failure: it is left alone, and the proof says so.",
    ),
    makes_pods=True,
)
def every_free_slice_runs_a_pod(context: Context) -> Iterator[Result]:
    """What others hold is not touched."""
    record = context.sharing
    if record.refused:
        yield failed(f"the cluster refuses the proof's pods: {record.refused}", context.kubectl("get", "events", "-A"))
    for node in record.nodes:
        describe = context.kubectl("describe", "node", node.name)
        pods = record.pods_on(node)
        run = [pod for pod in pods if pod.started and not pod.problem]
        if node.problem:
            yield failed(f"{node.name} {node.problem}", describe, node.name)
        elif node.busy and not node.free:
            yield skipped(f"all slices of {_place(record, node)} are taken by other pods", node.name)
        elif not node.free:
            fact = f"{_place(record, node)} offers no slice; the stack says {node.offered}"
            yield failed(fact, describe, node.name)
        elif len(run) < len(pods):
            broken = next(pod for pod in pods if pod not in run)
            yield failed(
                f"{_place(record, node)}: {len(run)} of {len(pods)} pods run; {broken.name}: {broken.problem}",
                describe,
                node.name,
            )
        elif pods:
            others = f"; other pods hold {node.busy}" if node.busy else ""
            where = f"{counted(len(run), 'pod')} in {len(run)} free slices"
            yield passed(f"{_place(record, node)}: {where}{others}", node.name)


@Check(
    "SHR002",
    SHARING,
    "each GPU serves as many pods at once as it has slices",
    cause="The device plugin runs with other slices than the stack says, or a GPU is out of service",
    example="gpu-1: 2 GPUs serve 4 + 4 pods; the stack says 2 GPUs with 6 each",
    confirm=(
        "gpuctl capacity --stack lab",
        "kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-device-plugin",
    ),
    fix=(
        "`pulumi up --refresh --stack lab` gives the plugin the stack's configuration.",
        "A GPU that the plugin took out of service comes back when its pod is restarted; the log says why it went.",
        "A GPU that is whole for one pod and shared by others: name the node's GPUs by UUID in `wholeGpus` and "
        "`sharedGpus`, as indexes may be others after a reboot.",
    ),
    makes_pods=True,
)
def each_gpu_serves_its_slices(context: Context) -> Iterator[Result]:
    """With every slice taken, the count does not depend on the order in which the plugin hands them out."""
    record = context.sharing
    for node in record.nodes:
        tally = record.tally(node)
        served = f"serve{'s' if len(tally) == 1 else ''} " + " + ".join(map(str, _counts(tally)))
        if reason := _no_tally(record, node, tally):
            yield skipped(reason, node.name)
        elif twice := _offered_twice(record, node, tally):
            serve = "serves" if len(twice) == 1 else "serve"
            fact = f"{_place(record, node)}: {listed(twice)} {serve} pods of another resource too"
            yield failed(fact, _plugin_log(context, node), node.name)
        elif len(tally) == node.gpus and set(tally.values()) == {node.slices}:
            of_others = f", {node.busy} of them of others" if node.busy else ""
            gpus = f"{_place(record, node)}: {counted(node.gpus, 'GPU')}"
            yield passed(f"{gpus} {served} {'pod' if node.offered == 1 else 'pods'} at once{of_others}", node.name)
        else:
            yield failed(
                f"{_place(record, node)}: {counted(len(tally), 'GPU')} {served} pods; "
                f"the stack says {counted(node.gpus, 'GPU')} with {node.slices} each",
                _plugin_log(context, node),
                node.name,
            )


def _place(record: Record, node: NodeRun) -> str:
    """The node, and the resource where there are several."""
    return node.name if len(record.resources) == 1 else f"{node.name}, {node.resource}"


def _plugin_log(context: Context, node: NodeRun) -> str:
    groups = context.desired.nodes[node.name].groups
    component = next(group.component for group in groups if group.resource == node.resource)
    return context.kubectl("logs", "-n", context.settings.namespace, name_on(context, component, node.name))


def _counts(tally: dict[str, int]) -> list[int]:
    return [count for _, count in sorted(tally.items())]


def _offered_twice(record: Record, node: NodeRun, tally: dict[str, int]) -> list[str]:
    """GPUs that the node's other device plugin has given to pods as well: whole ones that are shared too."""
    others = [each for each in record.nodes if each.name == node.name and each.resource != node.resource]
    return [uuid for other in others for uuid in record.tally(other) if uuid in tally]


def _no_tally(record: Record, node: NodeRun, tally: dict[str, int]) -> str:
    """Why the pods of a node's GPUs cannot be counted."""
    if not record.pods_on(node):
        return f"no pod of the proof ran on {node.name}"
    if node.busy_after != node.busy:
        return f"{node.name}: other pods came or went while the proof ran"
    if node.others is None:
        return f"{node.name}: {node.busy} slices are taken by other pods, and the kubelet does not say of which GPU"
    if "" in tally:
        return f"{node.name}: neither the kubelet nor the pods say which GPU they have"
    return ""


@Check(
    "SHR003",
    SHARING,
    "all of these pods run at the same time",
    cause="A pod ended before the last one had begun",
    example="share-3 ended at 12:00:07, before share-8 began at 12:00:09",
    confirm=(_VERIFY,),
    fix=("Run the proof again; the pods hold their slices until all of them run.",),
    makes_pods=True,
)
def pods_run_at_the_same_time(context: Context) -> Iterator[Result]:
    """By the kubelets' clocks, and by one answer of the API server."""
    record = context.sharing
    ran = [pod for pod in record.pods if pod.started and pod.finished]
    if not ran:
        yield skipped("no pod of the proof ran")
        return
    last, first = max(ran, key=lambda pod: pod.started), min(ran, key=lambda pod: pod.finished)
    if last.started > first.finished:
        ended = f"{first.name} ended at {first.finished}, before {last.name} began at {last.started}"
        yield failed(ended, context.kubectl("get", "events", "-A"))
    elif not record.together:
        yield failed(f"not all {len(record.pods)} pods were running at once", context.kubectl("get", "events", "-A"))
    else:
        yield passed(f"{counted(len(ran), 'pod')} ran at the same time, from {last.started} to {first.finished}")


@Check(
    "SHR004",
    SHARING,
    "an extra pod stays Pending while all slices are taken",
    cause="There are more slices than the proof knows of, or the pod waits for something else",
    example="an extra pod runs on gpu-1, although all of its slices are taken",
    confirm=("kubectl --context admin@lab describe nodes -l nvidia.com/gpu.present=true",),
    fix=("Compare what the nodes offer with `gpuctl capacity --stack lab`.",),
    makes_pods=True,
)
def one_more_pod_waits(context: Context) -> Iterator[Result]:
    """The scheduler's own words must name the resource, or that claims found no device."""
    record = context.sharing
    nodes = context.kubectl("describe", "nodes", "-l", "nvidia.com/gpu.present=true")
    if not record.extras:
        yield skipped("not every slice was taken, so an extra pod shows nothing")
    for extra in record.extras:
        if extra.node and _disturbed(record):
            yield skipped("other pods went while the proof ran, so an extra pod found room")
        elif extra.node:
            yield failed(f"an extra pod runs on {extra.node}, although all of its slices are taken", nodes)
        elif f"Insufficient {extra.resource}" in extra.message or _NO_SHARE in extra.message:
            yield passed(f"an extra pod is Pending for {extra.seconds:g} s: {extra.message}")
        else:
            yield failed(f"an extra pod is {extra.phase}, but not for {extra.resource}: {extra.message}", nodes)


_NO_SHARE = "cannot allocate all claims"
"""What the scheduler says where the DRA driver offers the GPUs; it names no resource."""


def _disturbed(record: Record) -> bool:
    return any(node.busy_after != node.busy for node in record.nodes)


@Check(
    "SHR005",
    SHARING,
    "a pod that asks for no GPU sees none",
    cause="The container runtime gives GPUs to pods that were not given any",
    example="gpu-1: a pod that asks for no GPU sees GPU-dc0c82b9",
    confirm=("kubectl --context admin@lab get runtimeclass nvidia -o yaml",),
    fix=(
        "The NVIDIA container runtime must leave containers alone that have no NVIDIA_VISIBLE_DEVICES.",
        "An image or a pod that sets NVIDIA_VISIBLE_DEVICES itself gets the GPUs it names, unless the runtime's "
        "`accept-nvidia-visible-devices-envvar-when-unprivileged` is false: this check does not speak of those.",
    ),
    makes_pods=True,
)
def a_pod_without_request_sees_no_gpu(context: Context) -> Iterator[Result]:
    """The pod has the RuntimeClass, and an empty NVIDIA_VISIBLE_DEVICES."""
    for pod in context.sharing.without:
        seen = [*(gpu.uuid for gpu in pod.sees), *pod.device_files]
        if not pod.finished or pod.problem:
            yield skipped(f"{pod.node}: the pod that was to find out did not run: {pod.problem}", pod.node)
        elif seen:
            yield failed(
                f"{pod.node}: a pod that asks for no GPU sees {listed(seen)}",
                context.kubectl("get", "runtimeclass", "nvidia", "-o", "yaml"),
                pod.node,
            )
        else:
            yield passed(f"{pod.node}: a pod that asks for no GPU sees none ({pod.answer})", pod.node)


@Check(
    "SHR006",
    SHARING,
    "each pod sees the GPU it was given and no other",
    cause="The container runtime shows a pod other GPUs than the device plugin gave it",
    example="gpu-1: share-3 was given GPU-dc0c82b9 and sees GPU-dc0c82b9 and GPU-69e0eefb",
    confirm=("kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-device-plugin",),
    fix=("Fix the configuration of the node's NVIDIA container runtime; on Talos, that of its extension.",),
    makes_pods=True,
)
def each_pod_sees_its_own_gpu(context: Context) -> Iterator[Result]:
    """By nvidia-smi in the pod."""
    record = context.sharing
    for node in record.nodes:
        pods = [pod for pod in record.pods_on(node) if pod.finished and not pod.problem]
        wrong = [pod for pod in pods if not _sees_its_own(pod)]
        if wrong:
            seen = listed([gpu.uuid for gpu in wrong[0].sees]) or f"none: {wrong[0].answer}"
            yield failed(
                f"{node.name}: {wrong[0].name} was given {wrong[0].uuid or 'a GPU'} and sees {seen}",
                _plugin_log(context, node),
                node.name,
            )
        elif pods:
            yield passed(f"{node.name}: {counted(len(pods), 'pod')}, each sees one GPU, its own", node.name)


def _sees_its_own(pod: PodRun) -> bool:
    return [gpu.uuid for gpu in pod.sees] == [pod.uuid]


@Check(
    "SHR007",
    SHARING,
    "a CUDA program passes its test in every slice",
    cause="CUDA does not work in a pod although the GPU is there, such as by a driver too old for the image",
    example="gpu-1: 0 of 8 CUDA pods passed; cuda-1: Error: CUDA driver version is insufficient",
    confirm=("gpuctl verify --sharing --cuda-image IMAGE --stack lab",),
    fix=(
        "Name an image that the driver can run with `--cuda-image`; its program must print `Test PASSED`.",
        "All pods of a GPU share its memory: with many slices there may be too little for as many CUDA programs.",
    ),
    makes_pods=True,
)
def cuda_passes_in_every_slice(context: Context) -> Iterator[Result]:
    """An image that cannot be had says nothing about a GPU."""
    record = context.sharing
    if record.cuda_skipped:
        yield skipped(
            f"no CUDA program ran: {record.cuda_skipped}",
            remedy=f"gpuctl verify --sharing --cuda-image IMAGE --stack {context.stack}",
        )
    for node in record.nodes:
        runs = [run for run in record.cuda if run.node == node.name]
        bad = [run for run in runs if not run.passed]
        if bad:
            said = " ".join((bad[0].problem, *bad[0].said.splitlines()[-1:])).strip()
            yield failed(
                f"{node.name}: {len(runs) - len(bad)} of {len(runs)} CUDA pods passed; {bad[0].name}: {said}",
                context.kubectl("describe", "node", node.name),
                node.name,
            )
        elif runs:
            yield passed(f"{node.name}: {counted(len(runs), 'CUDA pod')} of {record.cuda_image} passed", node.name)


@Check(
    "SHR008",
    SHARING,
    "nothing of the proof is left",
    cause="The cluster cannot finish the removal of the proof's namespace, such as by an API service that is down",
    example="still there: Namespace gpu-sharing-proof-1a2b3c",
    confirm=("kubectl --context admin@lab get namespaces -l app.kubernetes.io/name=gpu-sharing-proof -o yaml",),
    fix=("The conditions of the namespace say what keeps it.", "The next run of the proof removes it first."),
    makes_pods=True,
)
def nothing_is_left(context: Context) -> Iterator[Result]:
    """Asked of the API server."""
    if left := context.sharing.left:
        selector = "app.kubernetes.io/name=gpu-sharing-proof"
        yield failed(
            f"still there: {', '.join(left)}", context.kubectl("get", "namespaces", "-l", selector, "-o", "yaml")
        )
    else:
        yield passed(f"namespace {context.sharing.namespace} and all in it are gone")


CHECKS = checks_of(vars())
