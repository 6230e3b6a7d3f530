#!/busybox/sh
# Runs the NVIDIA device plugin, and starts it again where that brings slices back.
#
# The kubelet restarts a plugin that was killed too, but later each time, up to five minutes, in which the node offers nothing.
# And a GPU that the plugin took out of service stays out until it is started anew: that is done here once every GPU
# answers and the driver asks for no reset, later each time. No pod that has a GPU notices. A plugin that exits by itself
# as it starts ends the container: a wrong configuration or a missing driver shows, and stops a rolling update.
set -uf
PATH=$PATH:/busybox:/usr/local/nvidia/bin:/usr/local/bin:/usr/bin # container runtimes mount nvidia-smi at the host's path
state=${SUPERVISOR_STATE:-/run/nvidia-device-plugin} first_pause=${SUPERVISOR_PAUSE:-10} longest_pause=3600
pause=$first_pause

log() { printf 'supervisor: %s\n' "$*"; }
tick() { read -r uptime _ </proc/uptime && uptime=${uptime%.*}; }
relay() { # what the plugin writes, which alone says that it took a GPU out of service
  while IFS= read -r line; do
    printf '%s\n' "$line"
    case $line in *[Mm]arking*unhealthy*) [ -e "$state/unhealthy" ] || { tick && echo "$uptime" >"$state/unhealthy"; } ;; esac
  done
}
start() {
  rm -f "$state/unhealthy"
  nvidia-device-plugin >&3 2>&1 3>&- &
  plugin=$!
  tick && begun=$uptime
}
healthy() { # every GPU answers, and none needs a reset or a reboot
  for field in gpu_recovery_action uuid; do # older drivers do not know the former
    answer=$(timeout 10 nvidia-smi --query-gpu="$field" --format=csv,noheader 2>&1) && break
    [ $? -eq 2 ] || return 1
  done
  case $answer in *Reset* | *Reboot* | *Drain*) return 1 ;; esac
}
try_again() {
  read -r since 2>/dev/null <"$state/unhealthy" && [ "$uptime" -ge $((since + pause)) ] && healthy || return
  log "every GPU answers: the plugin is started again, to offer what it took out of service $((uptime - since)) s ago"
  if [ $((since - begun)) -ge "$longest_pause" ]; then pause=$first_pause; else pause=$((pause * 2)); fi
  [ "$pause" -le "$longest_pause" ] || pause=$longest_pause
  kill "$plugin" && wait "$plugin"
  start
}
leave() { # CODE
  exec 3>&- # the relay ends with its last writer, and has passed on all by then
  wait
  exit "$1"
}
ended() { # CODE
  case $1 in
    137 | 143) ;; # somebody killed it
    *) [ $((uptime - begun)) -ge 10 ] || leave "$1" ;;
  esac
  log "the plugin ended with $1 after $((uptime - begun)) s and is started again"
  start
}
stop() {
  trap '' TERM INT
  kill "$plugin"
  leave 0
}

mkfifo "$state/log" 2>/dev/null # it is there when the container was restarted
relay <"$state/log" & # one reader for all starts: two would share the bytes between them
exec 3>"$state/log"
trap stop TERM INT
start
while :; do
  sleep 1 & wait $! || exit 1 # a trap waits for the foreground; a failing sleep would make a busy loop
  tick
  if kill -0 "$plugin" 2>/dev/null; then try_again
  else
    wait "$plugin"
    ended $?
  fi
done
