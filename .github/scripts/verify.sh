#!/bin/sh
# verify.sh STACK WAIT: writes verify/STACK.md and verify/STACK.xml, and shows the former in the job's summary.
set -eu

mkdir -p verify
status=0
python -m gpuctl verify --stack "$1" --wait "$2" --junit "verify/$1.xml" --output markdown > "verify/$1.md" || status=$?
cat "verify/$1.md" >> "$GITHUB_STEP_SUMMARY"
exit "$status"
