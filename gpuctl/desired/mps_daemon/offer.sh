#!/busybox/sh
# Runs the device plugin's supervisor exactly while the MPS control daemon of the node serves.
#
# A CUDA program that finds no daemon runs on the bare GPU, without limits and beside those that have some. So while none
# serves the node offers no slice: the plugin ends, and the kubelet gives out nothing.
set -uf
PATH=/mps-daemon:$PATH:/busybox
state=${SUPERVISOR_STATE:-/run/nvidia-device-plugin} supervisor=${SUPERVISOR:-/supervisor/supervisor.sh}
running='' said=''

log() { [ "$said" = "$*" ] || printf 'offer: %s\n' "$*" && said=$*; }
answers() { [ -n "$(echo get_default_active_thread_percentage | timeout 5 nvidia-cuda-mps-control 2>/dev/null)" ]; }
offer() {
  log 'the MPS daemon serves: slices are offered'
  sh "$supervisor" &
  running=$!
  : >"$state/offering"
}
withdraw() {
  rm -f "$state/offering"
  [ -z "$running" ] || { kill "$running" 2>/dev/null && wait "$running"; }
  running=''
}
stop() {
  trap '' TERM INT
  withdraw
  exit 0
}

rm -f "$state/offering" # it is there when the container was restarted
trap stop TERM INT
while :; do
  if [ -n "$running" ] && ! kill -0 "$running" 2>/dev/null; then
    wait "$running"
    exit $?
  fi
  if answers || { sleep 1 && answers; }; then [ -n "$running" ] || offer
  else
    log 'no MPS daemon answers: no slice is offered until one does'
    withdraw
  fi
  sleep 3 & wait $! || exit 1 # a trap waits for the foreground; a failing sleep would make a busy loop
done
