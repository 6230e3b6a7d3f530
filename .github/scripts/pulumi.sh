#!/bin/sh
# pulumi.sh preview|up STACK [FLAG...]: with all differences, judged by the policy pack where the repository has one.
set -eu

verb=$1 stack=$2
shift 2
[ ! -f policy/PulumiPolicy.yaml ] || set -- --policy-pack policy "$@"
exec pulumi "$verb" --diff --stack "$stack" "$@"
