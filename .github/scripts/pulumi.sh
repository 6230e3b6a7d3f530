#!/bin/sh
# pulumi.sh preview|up STACK [FLAG...]: with all differences, judged by the policy pack (`make policy` installs it).
set -eu

verb=$1 stack=$2
shift 2
exec pulumi "$verb" --diff --policy-pack policy --stack "$stack" "$@"
