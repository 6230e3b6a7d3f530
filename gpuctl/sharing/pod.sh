#!/bin/sh
# A pod of the coexistence proof. It says which GPUs it sees in its termination message, which the API shows to
# whoever may read pods; then, as `hold`, it keeps its slice until a release comes through its annotation.
set -u
PATH=$PATH:/busybox:/usr/local/nvidia/bin:/usr/local/bin:/usr/bin # container runtimes mount nvidia-smi at the host's path
answer=${TERMINATION_LOG:-/dev/termination-log} release=${RELEASE:-/barrier/release}

{
  echo "visible=${NVIDIA_VISIBLE_DEVICES-}"
  mps=${CUDA_MPS_PIPE_DIRECTORY-}
  [ -z "$mps" ] || if [ -S "$mps/control" ]; then echo mps=reached; else echo mps=absent; fi
  for file in /dev/nvidia[0-9]*; do [ ! -e "$file" ] || echo "file=$file"; done
  nvidia-smi --query-gpu=uuid,name,driver_version --format=csv,noheader </dev/null 2>&1 | sed 's/^/smi=/'
} >"$answer"
[ "$1" = look ] || until [ -s "$release" ]; do sleep 1; done
