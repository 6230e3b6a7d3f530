#!/bin/sh
# plan.sh BASE HEAD: writes plan/comment.md, and plan/unchanged when nothing changes.
# Both revisions are read with git as data, so this runs on the base and executes nothing of the change.
set -eu

mkdir -p plan
base=$(git rev-parse --short "$1") head=$(git rev-parse --short "$2")
status=0
python -m gpuctl plan --base "$base" --head "$head" --output markdown > plan/comment.md || status=$?
case $status in
0) touch plan/unchanged ;;
10) ;; # something changes
*) exit "$status" ;;
esac
