#!/bin/sh
# Power-limit agent: holds every NVIDIA GPU of its node at one power limit. PID 1 of a DaemonSet pod.
#
#   run    look at every GPU, set what is off, sleep, again; on SIGTERM give the cards their default limits back
#   ready  exit 0 exactly while every GPU of the node is at its limit, else say why not
#   alive  exit 0 while the loop goes round
#
# POWER_LIMIT_WATTS     the limit, whole watts       NODE_GPU_COUNTS    GPUs each node must have: "gpu-1=2 gpu-2=1"
# POWER_LIMIT_INTERVAL  seconds between two looks    NODE_NAME          this node; one not counted must have at least one
# POWER_LIMIT_STATE     the only folder written to
# At its limit: the limit requested of the card is within 1 W, and the enforced one is not over it by more than 1 W.
# A lower enforced limit (firmware, out-of-band management) is logged as capped and counts: what a circuit needs is that
# no card draws more than agreed. Setting needs uid 0 and CAP_SYS_ADMIN in the initial user namespace, reading neither.
set -uf
PATH=$PATH:/busybox:/usr/local/nvidia/bin:/usr/local/bin:/usr/bin # container runtimes mount nvidia-smi at the host's path
want=${POWER_LIMIT_WATTS:?whole watts} interval=${POWER_LIMIT_INTERVAL:?seconds} expected=''
state=${POWER_LIMIT_STATE:-/run/gpu-power-limit}
fields=uuid,index,name,power.limit,enforced.power.limit,power.min_limit,power.max_limit,power.default_limit
fields=$fields,power.draw,utilization.gpu,temperature.gpu
for count in ${NODE_GPU_COUNTS-}; do case $count in "${NODE_NAME-}"=*) expected=${count##*=} ;; esac; done
power_cap_field=clocks_event_reasons.sw_power_cap known='' seen='' held='' status=''

log() { # LEVEL EVENT [KEY=VALUE...]
  level=$1 event=$2 && shift 2
  printf '%s\n' "time=$(date -u +%Y-%m-%dT%H:%M:%SZ) level=$level msg=$event${1:+ $*}"
}
fault() { log error "$@" && faults="${faults:+$faults; }$*"; } # an error, and a reason not to be ready
quoted() { printf '"%s"' "$(printf %s "$1" | tr '\n"' " '")"; }
contains() { case " $1 " in *" $2 "*) ;; *) return 1 ;; esac; }
read_uptime() { read -r uptime _ </proc/uptime && uptime=${uptime%.*}; } # the wall clock jumps when a node boots
publish() { [ "$status" = "$1" ] || { status=$1 && printf '%s\n' "$1" >"$state/status"; }; }

less() { # A B: both are known and A < B, in watts with two decimals or none
  case $1,$2 in *[!0-9.,]*) return 1 ;; esac
  case $1 in *.??) a=${1%.*}${1#*.} ;; *) a=${1}00 ;; esac
  case $2 in *.??) b=${2%.*}${2#*.} ;; *) b=${2}00 ;; esac
  [ "$a" -lt "$b" ]
}
requested() { [ "$limit" != unknown ] && ! less "$limit" $((want - 1)) && ! less $((want + 1)) "$limit"; }
smi() { nvidia-smi "$@" </dev/null 2>&1; }
query() { smi "$@" --query-gpu="$fields,$power_cap_field" --format=csv,noheader,nounits; }
parse() { # ROW: into one variable per field; "[N/A]", "[Not Supported]" and their kind become unknown, never 0
  case $1 in
    GPU-*,*,*,*,*,*,*,*,*,*,*,*) ;;
    *) [ -z "$1" ] || log warn not_understood line="$(quoted "$1")"; return 1 ;;
  esac
  IFS=, read -r uuid index name limit enforced min max default draw util temp power_cap <<EOF
$1
EOF
  for key in index limit enforced min max default draw util temp; do
    eval "value=\${$key# }"
    case $value in '' | *[!0-9.]*) value=unknown ;; esac
    eval "$key=\${value%.00}"
  done
}
read_gpus() { # into $rows, one line per GPU that answers
  rows='' index=0
  command -v nvidia-smi >/dev/null || { fault no_nvidia_smi searched="$PATH" && return; }
  for power_cap_field in "$power_cap_field" clocks_throttle_reasons.sw_power_cap; do # its name in older drivers
    rows=$(query) && return
    code=$?
    case $code$rows in 2*"$power_cap_field"*) ;; *) break ;; esac
  done
  fault query_failed exit="$code" message="$(quoted "$rows")"
  rows=''
  case $code in 2 | 6 | 9 | 12 | 126 | 127) return ;; esac # no GPU, driver or library: one by one is no better
  while [ "$index" -lt "${expected:-16}" ]; do # one lost GPU fails the query of all; the others are still served
    row=$(query -i "$index") || fault query_failed index="$index" exit=$? message="$(quoted "$row")"
    case $row in GPU-*) rows=$(printf '%s\n%s' "$rows" "$row") ;; 'No devices'*) return ;; esac
    index=$((index + 1))
  done
}
each_gpu() { # FUNCTION: called with the fields of one GPU in variables
  while IFS= read -r row; do ! parse "$row" || "$1"; done <<EOF
$rows
EOF
}
set_limit() { # and read it back; false, and reported, when the GPU did not take it
  before=$limit
  contains "$held" "$uuid" && log warn drift gpu="$uuid" limit_w="$limit" desired_w="$want"
  answer=$(smi -i "$uuid" -pl "$want") || {
    code=$?; [ "$code" -ne 4 ] || answer="$answer (setting needs uid 0 and the capability SYS_ADMIN)"
    fault refused gpu="$uuid" desired_w="$want" exit="$code" message="$(quoted "$answer")" && return 1
  }
  parse "$(query -i "$uuid")" && requested && { log info change gpu="$uuid" from_w="$before" to_w="$limit"; return; }
  fault not_applied gpu="$uuid" desired_w="$want" limit_w="$limit" message="$(quoted "$answer")" && return 1
}
serve() {
  at_limit=false count=$((count + 1)) seen="$seen $uuid"
  contains "$known" "$uuid" || known="$known $uuid"
  contains "$previous" "$uuid" ||
    log info found gpu="$uuid" index="$index" name="\"${name# }\"" min_w="$min" max_w="$max" default_w="$default"
  if [ "$limit" = unknown ]; then
    fault unknown_limit gpu="$uuid" desired_w="$want"
  elif less "$want" "$min" || less "$max" "$want"; then
    nearest=$min && less "$max" "$want" && nearest=$max
    fault unattainable gpu="$uuid" desired_w="$want" min_w="$min" max_w="$max" nearest_w="$nearest"
  elif requested || set_limit; then
    contains "$held" "$uuid" || held="$held $uuid"
    less "$enforced" $((want - 1)) && log warn capped gpu="$uuid" desired_w="$want" enforced_w="$enforced"
    if less $((want + 1)) "$enforced"; then fault not_enforced gpu="$uuid" desired_w="$want" enforced_w="$enforced"
    else at_limit=true; fi
  fi
  log info look gpu="$uuid" limit_w="$limit" enforced_w="$enforced" draw_w="$draw" util_pct="$util" temp_c="$temp" \
    sw_power_cap="\"${power_cap# }\"" at_limit=$at_limit
}
look() {
  faults='' previous=$seen seen='' count=0
  read_gpus
  each_gpu serve
  for uuid in $known; do contains "$seen" "$uuid" || fault lost gpu="$uuid"; done
  [ "$count" -ge "${expected:-1}" ] || fault missing expected="${expected:-1}" found="$count"
  publish "${faults:-ready}"
}
restore() { # the default, where the limit was held or stands at ours
  { contains "$held" "$uuid" || requested; } && [ "$limit" != "$default" ] || return 0
  if answer=$(smi -i "$uuid" -pl "$default"); then log info restored gpu="$uuid" from_w="$limit" to_w="$default"
  else log error restore_failed gpu="$uuid" limit_w="$limit" exit=$? message="$(quoted "$answer")"; fi
}
stop() {
  trap '' TERM INT
  publish stopping
  read_gpus
  each_gpu restore
  log info stop && exit 0
}
run() {
  mkdir -p "$state" && publish 'no look is finished yet' || exit 1
  trap stop TERM INT
  log info start desired_w="$want" interval_s="$interval" gpus="${expected:-any}"
  while read_uptime; do
    echo "$uptime" 1<>"$state/heartbeat" # not truncated first, so that a probe never reads it empty
    look
    sleep "$interval" & wait $! || exit 1 # a trap waits for the foreground; a failing sleep would make a busy loop
  done
}
alive() {
  read -r beat <"$state/heartbeat" && read_uptime || return 1
  age=$((uptime - beat)) allowed=$((3 * ${interval%.*} + 30))
  [ "$age" -le "$allowed" ] ||
    { echo "the last look began $age s ago, allowed are $allowed s: does nvidia-smi hang?" && return 1; }
}
ready() {
  alive && status=$(cat "$state/status") || return 1
  [ "$status" = ready ] || { echo "$status" && return 1; }
}
case $want in 0* | *[!0-9]*) echo "POWER_LIMIT_WATTS='$want': not whole watts" >&2 && exit 64 ;; esac
case ${1-} in
  run | ready | alive) "$1" ;;
  *) echo 'usage: power_limit_agent.sh run|ready|alive' >&2 && exit 64 ;;
esac
