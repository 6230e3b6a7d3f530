# shellcheck shell=sh disable=SC2154 # part of agent.sh, which has the variables
# Who may set limits: of all agents on a node the one whose name stands in the file `owner`.
#
# A rolling update starts a new pod while the old one runs. The newer takes over once every GPU takes its limits, and
# the older leaves the GPUs alone from then on, also when it ends. An owner that ends waits for a successor before it
# gives the GPUs their default limits back.
#
#   owner          POD_UID ORDER           the one that may set
#   agent-POD_UID  BOOT EXPIRY ORDER       one for each agent; it lives until EXPIRY, in seconds since BOOT
#   ours           UUID...                 the GPUs whose limit some agent set
# ORDER grows with each pod that comes to the node, so that the newer one is known after any restart or reboot.

read_order() { # the one it had before its container restarted, else one more than the highest there is
  set +f
  order=0
  for file in "$node/owner" "$node"/agent-*; do
    line=''
    read -r line 2>/dev/null <"$file"
    theirs=${line##* }
    [ "$file" != "$node/agent-$self" ] || [ -z "$theirs" ] || { order=$theirs && break; }
    [ "${theirs:-0}" -lt "$order" ] || order=$((${theirs:-0} + 1))
  done
  set -f
}
register() { # the sign of life; not truncated first, so that nobody reads an empty file
  printf '%s %s %s\n' "$boot" $((uptime + allowed)) "$order" 1<>"$node/agent-$self"
}
lives() { # POD_UID
  read -r its_boot its_expiry _ 2>/dev/null <"$node/agent-$1" && [ "$its_boot" = "$boot" ] && [ "$its_expiry" -ge "$uptime" ]
}
find_role() { # owner; heir: nobody is; candidate: newer than the owner; superseded: older
  holder='' rank=0
  read -r holder rank 2>/dev/null <"$node/owner"
  if [ "$holder" = "$self" ]; then role=owner
  elif [ -z "$holder" ] || ! lives "$holder"; then role=${unwritten:-heir}
  elif [ "$order" -gt "$rank" ]; then role=candidate
  else role=superseded; fi
}
claim() { # a full disk keeps no heir from it: better a limit without a record than none
  unwritten=''
  if printf '%s %s\n' "$self" "$order" >"$node/.$self" && mv "$node/.$self" "$node/owner"; then
    log info owner pod="$self" after="${holder:-nobody}"
  else
    [ "$role" = heir ] || return
    log warn owner_unwritten pod="$self" folder="$node"
    unwritten=owner
  fi
  role=owner
}
is_ours() { # the GPU in $uuid
  ours=''
  read -r ours 2>/dev/null <"$node/ours"
  contains "$ours" "$uuid"
}
remember() { is_ours || echo "$ours $uuid" >"$node/ours"; }
let_go() { # a GPU that has its default again
  rest=''
  for each in $ours; do [ "$each" = "$uuid" ] || rest="$rest $each"; done
  echo "$rest" >"$node/ours"
}
hand_over() { # to a successor that comes in time; false when there is none
  rm -f "$node/owner"
  until=$((uptime + patience))
  while find_role && [ "$role" = heir ] && [ "$uptime" -lt "$until" ]; do sleep 1 && tick; done
  [ "$role" != heir ]
}
forget() { # what is left when the limits are given back
  set +f
  rm -f "$node/owner" "$node/ours"
  for file in "$node"/agent-*; do lives "${file##*/agent-}" || rm -f "$file"; done
}
