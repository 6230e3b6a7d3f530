#!/busybox/sh
# Runs NVIDIA's MPS control daemon, and gives every client of it the memory and the threads of one slice.
#
#   run    the control daemon, with its limits, until it ends
#   ready  exit 0 while it answers and its limits are set, else say what is missing
#
# MPS_SLICES           pods that share one GPU        CUDA_MPS_PIPE_DIRECTORY  where its clients find it
# MPS_THREADS_PERCENT  of a GPU's multiprocessors     MPS_MEMORY_MIB           of a GPU; unset: its share
# MPS_STATE            folder of the pod              MPS_INTERVAL             seconds between two looks at its clients
# It changes no setting of a GPU: limits hold in compute mode Default. One server for the clients of all users
# (-multiuser-server) needs no capability and lets them run at once; without it they take turns. Seen with driver 580.
set -uf
PATH=/mps-daemon:$PATH:/busybox:/usr/local/nvidia/bin:/usr/local/bin:/usr/bin # nvidia-smi is at the host's path
state=${MPS_STATE:-/run/mps} interval=${MPS_INTERVAL:-5} verb=${1-} repeat=60

log() { # LEVEL EVENT KEY=VALUE...
  level=$1 event=$2 && shift 2
  printf '%s\n' "time=$(date -u +%Y-%m-%dT%H:%M:%SZ) level=$level msg=$event $*"
}
tick() { read -r uptime _ </proc/uptime && uptime=${uptime%.*}; }
ask() { echo "$*" | timeout 5 nvidia-cuda-mps-control 2>/dev/null; }
answers() { [ -n "$(ask get_default_active_thread_percentage)" ]; }
relay() { # what the control daemon and its server write, but for each question and its answer
  asked=''
  while IFS= read -r line; do
    case $line in
      *' NEW UI') asked=1 ;;
      *' UI closed') asked='' ;;
      *'Accepting connection...' | *'User did not send valid credentials') ;; # that of every client, too
      *' Server '* | *' server '* | *'SERVER'* | *'CLIENT'*) printf '%s\n' "$line" ;;
      *) [ -n "$asked" ] || printf '%s\n' "$line" ;;
    esac
  done
}
start() { # FLAG...
  nvidia-cuda-mps-control -f "$@" >&3 2>&1 3>&- &
  control=$! tries=0
  while ! answers; do
    sleep 1
    tries=$((tries + 1))
    if [ "$tries" -ge 20 ] || ! kill -0 "$control" 2>/dev/null; then
      kill "$control" 2>/dev/null
      return 1
    fi
  done
}
leave() { # CODE: its server ends with the container
  rm -f "$state/ready"
  kill "$control" 2>/dev/null
  exit "$1"
}
set_limits() { # of each GPU by its index, in the order of the PCI bus for both
  gpus=$(nvidia-smi --query-gpu=index,uuid,memory.total --format=csv,noheader,nounits) ||
    { log error no_gpus message="\"$(printf %s "$gpus" | tr '\n"' " '")\"" && return 1; }
  while IFS=', ' read -r index uuid total; do
    memory=${MPS_MEMORY_MIB:-$((total / MPS_SLICES))}
    ask "set_default_device_pinned_mem_limit $index ${memory}M" >/dev/null
    holds=$(ask "get_default_device_pinned_mem_limit $index")
    case $holds in "${memory}M" | "$((memory / 1024))G") ;; *) # it answers in whole GiB from one on
      log error limit_refused gpu="$uuid" memory_mib="$memory" answer="\"$holds\"" && return 1 ;;
    esac
  done <<END
$gpus
END
  ask "set_default_active_thread_percentage $MPS_THREADS_PERCENT" >/dev/null
  holds=$(ask get_default_active_thread_percentage)
  [ "${holds%.*}" = "$MPS_THREADS_PERCENT" ] ||
    { log error limit_refused threads_pct="$MPS_THREADS_PERCENT" answer="\"$holds\"" && return 1; }
}
look() { # at each GPU: one line, when its clients change and every minute
  clients=$(ask ps) && tick
  case $clients in "${seen-unseen}") [ "$uptime" -ge "$next" ] || return 0 ;; esac
  seen=$clients next=$((uptime + repeat))
  while IFS=', ' read -r index uuid total; do
    count=0
    while read -r _ _ _ device _; do # it prints the first digits of the UUID
      case $uuid,$device in *,GPU-*) ;; *) continue ;; esac
      case $uuid in "$device"*) count=$((count + 1)) ;; esac
    done <<END
$clients
END
    log info serving gpu="$uuid" index="$index" memory_total_mib="$total" \
      memory_mib="${MPS_MEMORY_MIB:-$((total / MPS_SLICES))}" threads_pct="$MPS_THREADS_PERCENT" clients="$count"
  done <<END
$gpus
END
}

# --- verbs ---
run() {
  rm -f "$state/ready" # it is there when the container was killed
  mkdir -p "$state" "$CUDA_MPS_PIPE_DIRECTORY" && chmod 1777 /dev/shm || exit 1
  mkfifo "$state/log" 2>/dev/null # it is there when the container was restarted
  relay <"$state/log" &
  exec 3>"$state/log"
  trap 'leave 0' TERM INT
  if ! start -multiuser-server; then # older drivers do not know it
    log warn single_user message='"clients of several users take turns, and only those of root are served"'
    start || leave 1
  fi
  set_limits || leave 1
  : >"$state/ready"
  while kill -0 "$control" 2>/dev/null; do
    look
    sleep "$interval" & wait $! || leave 1 # a trap waits for the foreground; a failing sleep would make a busy loop
  done
  wait "$control"
  log error control_ended exit=$?
  leave 1
}
ready() {
  [ -e "$state/ready" ] || { echo 'its limits are not set yet' && return 1; }
  answers || { echo 'the MPS control daemon does not answer' && return 1; }
}
case $verb in
  run | ready) "$verb" ;;
  *) echo 'usage: daemon.sh run|ready' >&2 && exit 64 ;;
esac
