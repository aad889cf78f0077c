# Parts of the batch scripts; a script sources it and calls `run_job`.
#
# Settings, in the environment or in jobs/site.sh (modules of the cluster):
#   MPIAPP_ENV=FILE      activates the Python environment (.venv/bin/activate)
#   MPIAPP_SRUN=OPTIONS  how srun starts MPI (--mpi=pmix; for MPICH and Intel
#                        MPI: --mpi=pmi2)
#   MPIAPP_PREFIX=WORDS  goes before python, e.g. apptainer exec --nv FILE.sif
#   MPIAPP_CRASHES=N     requeued so often after a crash (5)
# shellcheck shell=bash disable=SC1090,SC1091

[ ! -f jobs/site.sh ] || source jobs/site.sh
source "${MPIAPP_ENV:-.venv/bin/activate}"

mpiapp_cancelled=''

# run_job 'PROGRAM [ACTION]' OPTIONS...: one step of all ranks; requeues the
# job until the program is done.  Exit codes 0 (done), 2 (wrong input) and 3
# (records failed) end the job, 4 (stopped early) and crashes requeue it:
# --resume goes on.  scancel ends it, resumable by hand.
run_job() {
    local code
    run_part run_step "$@" && code=0 || code=$?
    leave "$code"
}

# run_part run_step|run_alone 'PROGRAM [ACTION]' OPTIONS...: as run_job, but
# after exit codes 0 and 3, which it returns, the script goes on.
run_part() {
    local code
    "$@" && code=0 || code=$?
    echo "job.sh: mpiapp.$2 ended with exit code $code"
    [ "$code" != 0 ] && [ "$code" != 3 ] || return "$code"
    [ "$code" != 2 ] && [ -z "$mpiapp_cancelled" ] &&
        [ -n "${SLURM_JOB_ID:-}" ] || leave "$code"
    [ "$code" = 4 ] || count_crash || leave "$code"
    echo "job.sh: requeued, restart ${SLURM_RESTART_COUNT:-0} so far"
    scontrol requeue "$SLURM_JOB_ID" || leave "$code"
    sleep 120
    exit "$code"
}

# All ranks, with --resume; without Slurm MPIAPP_RANKS (2) under mpirun.
run_step() {
    local program=$1
    local -a start=(mpirun -n "${MPIAPP_RANKS:-2}")
    shift
    # srun of Slurm 22.05 to 23.02 does not take --cpus-per-task over
    export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
    # without the option a rank that is killed leaves the others waiting
    [ -z "${SLURM_JOB_ID:-}" ] || start=(srun --kill-on-bad-exit=1)
    run_python "$program" --resume \
        --threads-per-rank "$SRUN_CPUS_PER_TASK" "$@"
}

# One process with all the cores of the job, `all_cores`.
run_alone() {
    local -a start=()
    [ -z "${SLURM_JOB_ID:-}" ] || start=(srun --nodes=1 --ntasks=1)
    SRUN_CPUS_PER_TASK=$(all_cores) run_python "$@"
}

all_cores() {
    echo $((${SLURM_NTASKS:-1} * ${SLURM_CPUS_PER_TASK:-1}))
}

# In the background, as bash runs a trap only when `wait` returns.
run_python() {
    local step code
    local -a program prefix
    read -ra program <<<"$1"
    shift
    read -ra prefix <<<"${MPIAPP_PREFIX:-}"
    # how srun starts MPI
    [ "${start[0]:-}" != srun ] ||
        read -ra start <<<"${start[*]} ${MPIAPP_SRUN:---mpi=pmix}"
    ${start[@]+"${start[@]}"} ${prefix[@]+"${prefix[@]}"} \
        python -m "mpiapp.${program[0]}" "${program[@]:1}" "$@" &
    step=$!
    # a step that has just ended is no error
    trap 'kill -USR1 $step || true' USR1
    trap 'mpiapp_cancelled=1; kill -TERM $step || true' TERM
    # Ctrl-C in an interactive session: put the work aside as well
    trap 'kill -TERM $step || true' INT
    while true; do
        wait "$step" && code=0 || code=$?
        kill -0 "$step" 2>/dev/null || break
    done
    trap - USR1 TERM INT
    return "$code"
}

# The crashes of this job; false when there are too many.
count_crash() {
    local file=.crashes-$SLURM_JOB_ID n=0
    [ ! -f "$file" ] || n=$(<"$file")
    n=$((n + 1))
    echo "$n" >"$file"
    [ "$n" -le "${MPIAPP_CRASHES:-5}" ]
}

leave() {
    rm -f ".crashes-${SLURM_JOB_ID:-none}"
    exit "$1"
}
