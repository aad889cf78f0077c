#!/bin/bash
# An interactive session of an hour: relax until it is over; the same command
# in the next session goes on.  Options of salloc come before --, those of
# the program after it:
#     bash jobs/interactive.sh --ntasks=8 -- --sdf FILE --model student
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

allocation=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    allocation+=("$1")
    shift
done
[ $# = 0 ] || shift
# shellcheck disable=SC2016  # expanded in the session
exec salloc --time=01:00:00 "${allocation[@]}" bash -c '
    source jobs/job.sh
    run_step reopt --time-limit "${MPIAPP_SESSION:-55m}" \
        --output-prefix runs/interactive "$@"' interactive.sh "$@"
