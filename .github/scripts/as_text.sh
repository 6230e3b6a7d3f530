#!/bin/sh
# as_text.sh COMMAND...: runs a command; GitHub takes no line of its output, in which others may have a say, for one of
# its own commands.
set -eu

end=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
status=0
echo "::stop-commands::$end"
"$@" || status=$?
echo "::$end::"
exit "$status"
