#!/bin/sh
# drift.sh STACK: whether the cluster is still what was deployed; writes drift/STACK.txt and verify/STACK.md.
# Both looks are taken, whatever the first one finds.
set -u

here=$(dirname "$0")
failed=0
mkdir -p drift
"$here/pulumi.sh" preview "$1" --color never --refresh --expect-no-changes > "drift/$1.txt" 2>&1 || failed=1
"$here/as_text.sh" cat "drift/$1.txt"
"$here/verify.sh" "$1" 1m || failed=1
exit "$failed"
