#!/bin/sh
# Usage watcher: which processes use the NVIDIA GPUs of its node, how much of them, and of which pods they are.
#
#   run     one sample, sleep, again
#   report  one sample, printed; writes nothing
#   ready   exit 0 while nvidia-smi answered in the last sample, else say what it said
#   alive   exit 0 while the loop goes round
#
# USAGE_INTERVAL  seconds between two samples         USAGE_STATE  folder of the pod
# USAGE_PATIENCE  seconds that nvidia-smi may take    USAGE_PROC   /proc of the node
# USAGE_PORT      where Prometheus gets metrics.txt; empty: nowhere      USAGE_NODE   name of the node in it
# It sets nothing and needs neither root nor a capability, only the node's process ids (hostPID): without them nvidia-smi
# lists no process. What cannot be seen is "unknown". docs/usage.md says what the lines of the log mean.
set -uf
PATH=$PATH:/busybox:/usr/local/nvidia/bin:/usr/local/bin:/usr/bin # container runtimes mount nvidia-smi at the host's path
LC_ALL=C # a name is bytes
interval=${USAGE_INTERVAL:-30} patience=${USAGE_PATIENCE:-10}
state=${USAGE_STATE:-/run/gpu-usage} proc=${USAGE_PROC:-/proc} verb=${1-}
port=${USAGE_PORT-} node=${USAGE_NODE-}
of_gpus=index,uuid,memory.used,memory.total,utilization.gpu,mig.mode.current,power.draw of_processes=gpu_uuid,pid,used_memory

log() { # LEVEL EVENT KEY=VALUE...
  level=$1 event=$2 && shift 2
  printf '%s\n' "time=$now level=$level msg=$event $*"
}
failure() { # LEVEL WHAT EXIT ANSWER: an error is a reason not to be ready
  message=$(printf %s "$4" | tr '\n"' " '")
  log "$1" query_failed of="$2" exit="$3" message="\"$message\""
  [ "$1" = warn ] || status="query_failed of=$2 exit=$3 message=\"$message\""
}
tick() { read -r uptime _ <"$proc/uptime"; } # seconds since the node booted, with two decimals
ask() { # the sign of life comes before each question: one that is never answered ends the pod
  [ "$verb" != run ] || { tick && echo "${uptime%.*}" >"$state/heartbeat"; }
  timeout -s KILL "$patience" nvidia-smi "$@" </dev/null 2>&1
}
figures() { # NAME...: what is no whole number in these variables becomes unknown, never 0
  for figure in "$@"; do
    eval "value=\${$figure# }"
    case $value in '' | *[!0-9]*) value=unknown ;; esac
    eval "$figure=\$value"
  done
}

# --- of which pod a process is ---
in_pod() { # LINE of /proc/PID/cgroup: into $pod and $container; false when it names no pod. Of either cgroup driver:
  rest=$1  # kubepods-burstable-pod1a2b_3c4d.slice/cri-containerd-ID.scope, /kubepods/burstable/pod1a2b-3c4d/ID
  while :; do
    case $rest in *[/-]pod*) rest=${rest#*[/-]pod} uid=${rest%%[!0-9a-f_-]*} ;; *) return 1 ;; esac
    [ ${#uid} -lt 32 ] || break
  done
  rest=${rest#"$uid"} rest=${rest#.slice} rest=${rest#[/:]} rest=${rest%%/*} rest=${rest%.scope}
  container=${rest##*[-:]}
  case $container in '' | *[!0-9a-f]*) container=unknown ;; esac
  while case $uid in *_*) ;; *) false ;; esac do uid=${uid%%_*}-${uid#*_}; done
  pod=$uid
}
identify() { # the process $pid: into $pod, $container and $name; none: it is of no pod
  pod=none container=none name='' start=''
  while IFS= read -r line; do ! in_pod "$line" || break; done 2>/dev/null <"$proc/$pid/cgroup"
  IFS= read -r name 2>/dev/null <"$proc/$pid/comm"
  while IFS= read -r line; do start=$line; done 2>/dev/null <"$proc/$pid/stat" # a name may have line breaks
  # shellcheck disable=SC2086 # its fields, after the name in parentheses
  set -- ${start##*) }
  # one that started after the question is another process than the one that was answered
  [ "${20:-unknown}" -le "$asked" ] 2>/dev/null || { pod=unknown container=unknown name=unknown && return; }
  case $name in *[!A-Za-z0-9._+:-]*) name=$(printf %s "$name" | tr -c 'A-Za-z0-9._+:-' _) ;; esac
  name=${name:-unknown}
}

# --- one sample ---
shares() { # GPU: into $shares " PID=SM,BANDWIDTH,MEMORY" of each process; by GPU, because pmon watches four at most
  shares=' ' fb=''
  answer=$(ask pmon -c 1 -s um -i "$1") || { failure warn pmon $? "$answer" && return; }
  while IFS= read -r row; do
    # shellcheck disable=SC2086 # its columns
    set -- $row
    case "${1-} ${2-}" in
      '# gpu') shift && fb=0 && for word; do fb=$((fb + 1)) && if [ "$word" = fb ]; then break; fi; done ;;
      [0-9]*' '[0-9]*) [ $# -lt "${fb:-99}" ] || eval "shares=\"\$shares\$2=\$4,\$5,\${$fb} \"" ;;
    esac
  done <<END
$answer
END
}
process() { # PID MEMORY SM BANDWIDTH: on the GPU in $uuid
  pid=$1 memory=$2 sm=$3 bandwidth=$4
  # a process that did nothing since the last second has "-", as has every process of a GPU in MIG mode
  case $mig,$sm in *Enabled,*) ;; *,-) sm=0 bandwidth=0 ;; esac
  figures memory sm bandwidth
  identify
  count=$((count + 1))
  log info process gpu="$uuid" pid="$pid" pod="$pod" container="$container" memory_mib="$memory" sm_pct="$sm" \
    mem_pct="$bandwidth" name="$name"
}
on_gpu() { # ROW: its processes, and then the GPU itself, whose line closes them
  IFS=, read -r index uuid used total util mig draw <<END
$1
END
  uuid=${uuid# } count=0 listed=' '
  shares "$uuid"
  while IFS=, read -r its pid memory; do
    pid=${pid# }
    case $its,$pid in "$uuid",*[!0-9]* | "$uuid",) continue ;; "$uuid",*) ;; *) continue ;; esac
    case $shares in *" $pid="*) share=${shares#*" $pid="} share=${share%% *} ;; *) share=unknown,unknown, ;; esac
    listed="$listed$pid " bandwidth=${share#*,}
    process "$pid" "$memory" "${share%%,*}" "${bandwidth%,*}"
  done <<END
$processes
END
  for share in $shares; do # those that compute nothing but graphics, and clients of MPS
    pid=${share%%=*} share=${share#*=}
    case $listed in *" $pid "*) continue ;; esac
    bandwidth=${share#*,}
    process "$pid" "${bandwidth#*,}" "${share%%,*}" "${bandwidth%,*}"
  done
  figures index used total util
  draw=${draw# }
  case $draw in '' | .* | *[!0-9.]* | *.*.*) draw=unknown ;; esac
  log info gpu gpu="$uuid" index="$index" memory_mib="$used" memory_total_mib="$total" util_pct="$util" draw_w="$draw" \
    processes="$count"
}
sample() {
  now=$(date -u +%Y-%m-%dT%H:%M:%SZ) status=ready
  tick && asked=${uptime%.*}${uptime#*.} # in the kernel's ticks, of which there are 100 a second
  gpus=$(ask --query-gpu="$of_gpus" --format=csv,noheader,nounits) || failure error gpus $? "$gpus"
  processes=$(ask --query-compute-apps="$of_processes" --format=csv,noheader,nounits) ||
    failure error processes $? "$processes"
  while IFS= read -r row; do
    case $row in [0-9]*,*GPU-*,*,*,*,*,*) [ "$status" != ready ] || on_gpu "$row" ;; esac
  done <<END
$gpus
END
  [ "$status" = ready ]
}

# --- verbs ---
publish() { # the last sample as Prometheus takes it, or that there is none; whoever reads gets all of it or the one before
  kill -0 "$server" 2>/dev/null || { status='httpd ended, so nobody gets the metrics' && return; }
  awk -v node="$node" -v ready="$status" -f "${0%/*}/metrics.awk" "$state/sample" >"$state/.metrics" &&
    mv "$state/.metrics" "$state/www/metrics.txt"
}
run() {
  mkdir -p "$state/www" && echo 'no sample is finished yet' >"$state/status" || exit 1
  trap 'exit 0' TERM INT
  [ -z "$port" ] || { httpd -f -p "$port" -h "$state/www" & server=$! && trap 'kill "$server"; exit 0' TERM INT; }
  while :; do
    sample >"$state/sample"
    cat "$state/sample"
    [ -z "$port" ] || publish
    printf '%s\n' "$status" >"$state/.status" && mv "$state/.status" "$state/status"
    sleep "$interval" & wait $! || exit 1 # a trap waits for the foreground; a failing sleep would make a busy loop
  done
}
report() { sample; }
alive() {
  tick && read -r beat <"$state/heartbeat" || return 1
  age=$((${uptime%.*} - beat)) allowed=$((${interval%.*} + patience + 60))
  [ "$age" -le "$allowed" ] ||
    { echo "the last question was asked $age s ago, allowed are $allowed s: does nvidia-smi hang?" && return 1; }
}
ready() {
  alive && read -r status <"$state/status" || return 1
  [ "$status" = ready ] || { echo "$status" && return 1; }
}
case $verb in
  run | report | ready | alive) "$verb" ;;
  *) echo 'usage: watch.sh run|report|ready|alive' >&2 && exit 64 ;;
esac
