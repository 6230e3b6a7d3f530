# One sample of the usage watcher in Prometheus' text format: sums by GPU and pod, because a series for each process would
# never be used again. What is unknown of one of its processes is no series of the pod.
#
# node   name of the node             ready   `ready`: the sample is whole; else no GPU has a series

function field(name,    i) {
  for (i = 1; i <= NF; i++) if (index($i, name "=") == 1) return substr($i, length(name) + 2)
  return "unknown"
}
function add(family, labels, value, factor) {
  if (value == "unknown") unknown[family, labels] = 1
  sums[family, labels] += value * factor
}
function say(family, help, list,    labels, said) {
  for (labels in list) if ((family, labels) in sums && !((family, labels) in unknown)) {
    if (!said++) printf "# HELP gpu_usage_%s %s\n# TYPE gpu_usage_%s gauge\n", family, help, family
    printf "gpu_usage_%s{node=\"%s\",%s} %.15g\n", family, node, labels, sums[family, labels]
  }
}
ready != "ready" { next }
/ msg=process / {
  labels = "uuid=\"" field("gpu") "\",pod_uid=\"" field("pod") "\""
  pods[labels] = here[labels] = 1
  if (field("sm_pct") + 0 > most) most = field("sm_pct") + 0
  if (field("sm_pct") == "unknown") most = 100
  add("pod_memory_bytes", labels, field("memory_mib"), 1048576)
  add("pod_sm_ratio", labels, field("sm_pct"), 0.01)
  add("pod_memory_bandwidth_ratio", labels, field("mem_pct"), 0.01)
  add("pod_processes", labels, 1, 1)
}
/ msg=gpu / {
  labels = "uuid=\"" field("gpu") "\",index=\"" field("index") "\""
  gpus[labels] = 1
  add("gpu_memory_total_bytes", labels, field("memory_total_mib"), 1048576)
  add("gpu_utilization_ratio", labels, field("util_pct"), 0.01)
  add("gpu_power_watts", labels, field("draw_w"), 1)
  add("gpu_processes", labels, field("processes"), 1)
  # a busy GPU on which nobody computes does not tell who does
  for (each in here) { if (field("util_pct") + 0 >= 10 && !most) unknown["pod_sm_ratio", each] = 1; delete here[each] }
  most = 0
}
END {
  printf "# HELP gpu_usage_up Whether nvidia-smi answered in the last sample.\n# TYPE gpu_usage_up gauge\n"
  printf "gpu_usage_up{node=\"%s\"} %d\n", node, ready == "ready"
  say("pod_memory_bytes", "Memory of a pod on a GPU.", pods)
  say("pod_sm_ratio", "Share of the multiprocessors' time that a pod had.", pods)
  say("pod_memory_bandwidth_ratio", "Share of the time in which a pod read or wrote memory.", pods)
  say("pod_processes", "Processes of a pod on a GPU.", pods)
  say("gpu_memory_total_bytes", "Memory of a GPU.", gpus)
  say("gpu_utilization_ratio", "Share of the time in which a GPU computed.", gpus)
  say("gpu_power_watts", "What a GPU draws.", gpus)
  say("gpu_processes", "Processes on a GPU.", gpus)
}
