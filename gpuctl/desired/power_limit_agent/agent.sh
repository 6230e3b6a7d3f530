#!/bin/sh
# Power-limit agent: holds every NVIDIA GPU of its node at its power limit. PID 1 of a DaemonSet pod.
#
#   run     query every GPU, set what is off, sleep, again; on SIGTERM hand over, give the GPUs their defaults back, or keep them
#   ready   exit 0 exactly while every GPU of the node is at its limit, else say why not
#   alive   exit 0 while the loop goes round
#   report  one query, printed; sets nothing, writes nothing, needs no privilege
#
# POWER_LIMIT_WATTS     the limit, whole watts      NODE_NAME        this node
# POWER_LIMITS          what differs, one a line: "UUID WATTS", "NODE WATTS" or "NODE WATTS NAME OF THE MODEL"; for WATTS
#                       "none": such a GPU is left alone, and a node with "NODE none" is always ready
# NODE_GPU_COUNTS       GPUs each node must have: "gpu-1=2 gpu-2=1"; a node not counted must have at least one
# POWER_LIMIT_INTERVAL  seconds between two rounds  POD_UID          this pod, also after a restart of its container
# POWER_LIMIT_STATE     folder of the pod           POWER_LIMIT_NODE folder of the node, which all agents on it share
# POWER_LIMIT_PATIENCE  seconds that an ending agent waits for a successor
# POWER_LIMIT_KEPT_ON   nodes on which an agent that nobody follows leaves the limits as they are
# At its limit: the limit requested of the GPU is within 1 W, and the enforced one is not over it by more than 1 W.
# A lower enforced limit (firmware, out-of-band management) is logged as capped and counts: what a circuit needs is that
# no GPU draws more than agreed. For the same reason a GPU whose limit cannot be set is held where it enforces no more
# than is wanted; its reason is then a warning. Setting needs uid 0 and CAP_SYS_ADMIN in the initial user namespace, reading neither.
# handover.sh says which of two agents may set, docs/power.md what the lines of the log mean.
set -uf
PATH=$PATH:/busybox:/usr/local/nvidia/bin:/usr/local/bin:/usr/bin # container runtimes mount nvidia-smi at the host's path
interval=${POWER_LIMIT_INTERVAL:-60} patience=${POWER_LIMIT_PATIENCE:-10} self=${POD_UID:-nobody}
state=${POWER_LIMIT_STATE:-/run/gpu-power-limit} node=${POWER_LIMIT_NODE:-/var/lib/kubelet/plugins/gpu-power-limit}
fields=uuid,index,name,power.limit,enforced.power.limit,power.default_limit,power.min_limit,power.max_limit,power.draw
fields=$fields,utilization.gpu,temperature.gpu,memory.used,memory.total,persistence_mode
reasons_field=clocks_event_reasons.active
reasons='gpu_idle applications_clocks_setting sw_power_cap hw_slowdown sync_boost sw_thermal_slowdown'
reasons="$reasons hw_thermal_slowdown hw_power_brake_slowdown display_clocks_setting" # bits of the mask, from the lowest
verb=${1-} role='' expected='' known='' seen='' held='' status='' fixed='' stored='' left_alone=false
for count in ${NODE_GPU_COUNTS-}; do case $count in "${NODE_NAME-}"=*) expected=${count##*=} ;; esac; done

# shellcheck source=gpuctl/desired/power_limit_agent/handover.sh
. "${0%/*}/handover.sh"

# --- log ---
log() { # LEVEL EVENT [KEY=VALUE...]
  level=$1 event=$2 && shift 2
  printf '%s\n' "time=$now level=$level msg=$event${1:+ $*}"
}
fault() { log error "$@" && faults="${faults:+$faults; }$*"; } # an error, and a reason not to be ready
absence() { if $left_alone; then log warn "$@"; else fault "$@"; fi; } # where nothing is to be held nothing can be amiss
quoted() { printf '"%s"' "$(printf %s "$1" | tr '\n"' " '")"; }
contains() { case " $1 " in *" $2 "*) ;; *) return 1 ;; esac; }
tick() { # the wall clock for the log, and seconds since the node booted, which never jump
  now=$(date -u +%Y-%m-%dT%H:%M:%SZ) && read -r uptime _ </proc/uptime && uptime=${uptime%.*}
}
publish() { [ "$status" = "$1" ] || { status=$1 && printf '%s\n' "$1" >"$state/status"; }; }

# --- nvidia-smi ---
less() { # A B: both are known and A < B, in watts with two decimals or none
  case $1,$2 in *[!0-9.,]*) return 1 ;; esac
  case $1 in *.??) a=${1%.*}${1#*.} ;; *) a=${1}00 ;; esac
  case $2 in *.??) b=${2%.*}${2#*.} ;; *) b=${2}00 ;; esac
  [ "$a" -lt "$b" ]
}
requested() { [ "$limit" != unknown ] && ! less "$limit" $((want - 1)) && ! less $((want + 1)) "$limit"; }
enforces_enough() { [ "$enforced" != unknown ] && ! less $((want + 1)) "$enforced"; } # by whatever holds it
attainable() { ! less "$want" "$min" && ! less "$max" "$want"; }
query() { nvidia-smi "$@" --query-gpu="$fields,$reasons_field" --format=csv,noheader,nounits </dev/null 2>&1; }
change() { # the only way to set anything, and closed unless the loop runs and owns the node's limits
  [ "$verb,$role" = run,owner ] || { echo 'not the owner of the limits' && return 77; }
  nvidia-smi "$@" </dev/null 2>&1
}
parse() { # ROW: into one variable per field; "[N/A]", "[Not Supported]" and their kind become unknown, never 0
  case $1 in
    GPU-*,*,*,*,*,*,*,*,*,*,*,*,*,*,*) ;;
    *) [ -z "$1" ] || log warn not_understood line="$(quoted "$1")"; return 1 ;;
  esac
  IFS=, read -r uuid index name limit enforced default min max draw util temp used total persistence mask <<END
$1
END
  for key in index limit enforced default min max draw util temp used total; do
    eval "value=\${$key# }"
    case $value in '' | *[!0-9.]*) value=unknown ;; esac
    eval "$key=\${value%.00}"
  done
  name=${name# } persistence=${persistence# } mask=${mask# } throttle=''
  case $persistence in Enabled | Disabled) ;; *) persistence=unknown ;; esac
  case $mask in 0x*) mask=$((mask)) ;; *) mask=0 throttle=,unknown ;; esac
  for reason in $reasons; do
    [ $((mask & 1)) -eq 0 ] || throttle=$throttle,$reason
    mask=$((mask >> 1))
  done
  throttle=${throttle#,}
  desired
}
desired() { # into $want: what is said of the GPU counts before its model on this node, the node, and all
  by_uuid='' by_model='' by_node=''
  while read -r key watts model; do
    case $key,$model in
      "$uuid",) by_uuid=$watts ;;
      "${NODE_NAME-}",) by_node=$watts ;;
      "${NODE_NAME-},$name") by_model=$watts ;;
    esac
  done <<END
${POWER_LIMITS-}
END
  want=${by_uuid:-${by_model:-${by_node:-$POWER_LIMIT_WATTS}}}
}
read_gpus() { # into $rows, one line per GPU that answers
  faults='' rows=''
  query_all
  unread=$faults
}
query_all() {
  index=0
  command -v nvidia-smi >/dev/null || { absence no_nvidia_smi searched="$PATH" && return; }
  for reasons_field in "$reasons_field" clocks_throttle_reasons.active; do # its name in older drivers
    rows=$(query) && return
    code=$?
    case $code$rows in 2*"$reasons_field"*) ;; *) break ;; esac
  done
  absence query_failed exit="$code" message="$(quoted "$rows")"
  rows=''
  case $code in 2 | 6 | 9 | 12 | 126 | 127) return ;; esac # no GPU, driver or library: one by one is no better
  while [ "$index" -lt "${expected:-16}" ]; do # one lost GPU fails the query of all; the others are still served
    row=$(query -i "$index") || absence query_failed index="$index" exit=$? message="$(quoted "$row")"
    case $row in GPU-*) rows=$(printf '%s\n%s' "$rows" "$row") ;; 'No devices'*) return ;; esac
    index=$((index + 1))
  done
}
each_gpu() { # FUNCTION: called with the fields of one GPU in variables
  while IFS= read -r row; do ! parse "$row" || "$1"; done <<END
$rows
END
}

# --- one round ---
set_limit() { # and read it back; false, and reported, when the GPU did not take it
  before=$limit
  find_role # just before: from the moment that another agent owns the limits, this one leaves them alone
  [ "$role" = owner ] || return
  contains "$held" "$uuid" && log warn drift gpu="$uuid" limit_w="$limit" desired_w="$want"
  answer=$(change -i "$uuid" -pl "$want") || {
    code=$?; [ "$code" -ne 4 ] || answer="$answer (setting needs uid 0 and the capability SYS_ADMIN)"
    unsettable refused gpu="$uuid" desired_w="$want" exit="$code" message="$(quoted "$answer")" && return 1
  }
  remember
  parse "$(query -i "$uuid")" && requested && { log info change gpu="$uuid" from_w="$before" to_w="$limit"; return; }
  unsettable not_applied gpu="$uuid" desired_w="$want" limit_w="$limit" message="$(quoted "$answer")" && return 1
}
unsettable() { # EVENT [KEY=VALUE...]: a fault only where the GPU may draw more than is wanted
  enforces_enough || { fault "$@" && return; }
  log warn "$@" enforced_w="$enforced"
  at_limit=true fixed="$fixed $uuid"
}
keep_driver_loaded() { # it would forget the limit with its last user; nvidia-persistenced does the same
  if answer=$(change -i "$uuid" -pm 1); then log info persistence gpu="$uuid" requested=Enabled
  else log warn persistence_refused gpu="$uuid" exit=$? message="$(quoted "$answer")"; fi
}
serve() {
  at_limit=false count=$((count + 1)) seen="$seen $uuid"
  contains "$known" "$uuid" || known="$known $uuid"
  contains "$previous" "$uuid" || [ "$verb" = report ] ||
    log info found gpu="$uuid" index="$index" name="\"$name\"" min_w="$min" max_w="$max" default_w="$default"
  [ "$role,$persistence" != owner,Disabled ] || keep_driver_loaded
  if [ "$want" = none ]; then
    at_limit=true
    [ "$role" != owner ] || ! is_ours || { restore && let_go; } # it had a limit before the stack said so
  elif [ "$limit" = unknown ]; then
    unsettable unknown_limit gpu="$uuid" desired_w="$want"
  elif ! attainable; then
    nearest=$min && less "$max" "$want" && nearest=$max
    unfit=true && fault unattainable gpu="$uuid" desired_w="$want" min_w="$min" max_w="$max" nearest_w="$nearest"
  elif requested || { [ "$role" = owner ] && set_limit; }; then
    contains "$held" "$uuid" || held="$held $uuid"
    less "$enforced" $((want - 1)) && log warn capped gpu="$uuid" desired_w="$want" enforced_w="$enforced"
    if less $((want + 1)) "$enforced"; then fault not_enforced gpu="$uuid" desired_w="$want" enforced_w="$enforced"
    else at_limit=true; fi
  elif contains "$fixed" "$uuid" && enforces_enough; then at_limit=true # a report cannot try, the loop did
  fi
  case $role in candidate | superseded) return ;; esac # the owner's lines are enough
  log info sample gpu="$uuid" index="$index" name="\"$name\"" desired_w="$want" limit_w="$limit" enforced_w="$enforced" \
    draw_w="$draw" default_w="$default" min_w="$min" max_w="$max" util_pct="$util" temp_c="$temp" mem_used_mib="$used" \
    mem_total_mib="$total" throttle="${throttle:-none}" persistence="$persistence" at_limit=$at_limit
}
serve_all() {
  previous=$seen seen='' count=0 unfit='' faults=$unread
  [ "$verb" = report ] || fixed=''
  each_gpu serve
  for uuid in $known; do contains "$seen" "$uuid" || absence lost gpu="$uuid"; done
  [ "$count" -ge "${expected:-1}" ] || absence missing expected="${expected:-1}" found="$count"
}
round() {
  unwritten='' && find_role
  [ "$role" != heir ] || claim
  read_gpus
  serve_all
  [ "$role$unfit" != candidate ] || { claim && serve_all; } # only with limits that every GPU takes
  [ "$role" = owner ] || fault "$role" owner="$holder"
  [ "$fixed" = "$stored" ] || { stored=$fixed && echo "$fixed" >"$state/fixed"; }
  publish "${faults:-ready}"
}

# --- verbs ---
restore() { # the default, where some agent of this node set the limit
  is_ours || { [ "$want" != none ] && requested; } || return 0
  [ "$default" != unknown ] && [ "$limit" != "$default" ] || return 0
  find_role
  [ "$role" = owner ] || return 0
  if answer=$(change -i "$uuid" -pl "$default"); then log info restored gpu="$uuid" from_w="$limit" to_w="$default"
  else log error restore_failed gpu="$uuid" limit_w="$limit" exit=$? message="$(quoted "$answer")" && return 1; fi
}
pause() { # until the next round; who is not the owner checks every second whether there still is one
  until=$((uptime + ${interval%.*})) step=1
  [ "$role" != owner ] || step=$interval
  while :; do
    sleep "$step" & wait $! || exit 1 # a trap waits for the foreground; a failing sleep would make a busy loop
    tick
    [ "$role" != owner ] && find_role && [ "$role" != heir ] && [ "$uptime" -lt "$until" ] || return 0
  done
}
stop() {
  trap '' TERM INT
  tick
  publish stopping
  find_role
  if [ "$role" = owner ] && contains "${POWER_LIMIT_KEPT_ON-}" "${NODE_NAME-}"; then
    log info stop owner=nobody limits=kept
  elif [ "$role" != owner ] || hand_over; then
    log info stop owner="$holder"
  else
    claim && read_gpus && each_gpu restore
    forget
    log info stop owner=nobody
  fi
  rm -f "$node/agent-$self" && exit 0
}
run() {
  read -r boot </proc/sys/kernel/random/boot_id && mkdir -p "$state" "$node" && publish 'no round is finished yet' || exit 1
  read_order
  trap stop TERM INT
  log info start desired_w="$POWER_LIMIT_WATTS" interval_s="$interval" gpus="${expected:-any}" pod="$self" order="$order"
  while :; do
    echo "$uptime" 1<>"$state/heartbeat"
    register
    round
    pause
  done
}
report() { # true when some GPU answered
  read -r fixed 2>/dev/null <"$state/fixed"
  read_gpus
  serve_all
  [ -n "$rows" ]
}
alive() {
  read -r beat <"$state/heartbeat" || return 1
  age=$((uptime - beat))
  [ "$age" -le "$allowed" ] ||
    { echo "the last round began $age s ago, allowed are $allowed s: does nvidia-smi hang?" && return 1; }
}
ready() {
  alive && read -r status <"$state/status" || return 1
  [ "$status" = ready ] || { echo "$status" && return 1; }
}
is_whole() { case $1 in '' | 0* | *[!0-9]*) echo "'$1' in $2: not whole watts" >&2 && exit 64 ;; esac; }

is_whole "${POWER_LIMIT_WATTS:-}" POWER_LIMIT_WATTS
while read -r key watts model; do
  [ "$key,$watts,$model" != "${NODE_NAME-},none," ] || left_alone=true
  [ -z "$key" ] || [ "$watts" = none ] || is_whole "$watts" POWER_LIMITS
done <<END
${POWER_LIMITS-}
END
allowed=$((3 * ${interval%.*} + 30))
tick
case $verb in
  run | ready | alive | report) "$verb" ;;
  *) echo 'usage: agent.sh run|ready|alive|report' >&2 && exit 64 ;;
esac
