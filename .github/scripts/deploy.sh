#!/bin/sh
# deploy.sh STACK: makes the cluster what the stack file says, and nothing but what the preview just said.
set -eu

here=$(dirname "$0")
plan=$(mktemp)
trap 'rm -f "$plan"' EXIT
"$here/as_text.sh" "$here/pulumi.sh" preview "$1" --save-plan "$plan"
"$here/as_text.sh" "$here/pulumi.sh" up "$1" --yes --skip-preview --plan "$plan"
