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
    run_step "$@" && code=0 || code=$?
    echo "job.sh: mpiapp.$1 ended with exit code $code"
    [ "$code" != 0 ] && [ "$code" != 2 ] && [ "$code" != 3 ] ||
        leave "$code"
    [ -z "$mpiapp_cancelled" ] || leave "$code"
    [ "$code" = 4 ] || count_crash || leave "$code"
    echo "job.sh: requeued, restart ${SLURM_RESTART_COUNT:-0} so far"
    scontrol requeue "$SLURM_JOB_ID"
    sleep 120
}

# The step in the background, as bash runs a trap only when `wait` returns.
run_step() {
    local step code
    local -a program launch prefix
    read -ra program <<<"$1"
    shift
    read -ra launch <<<"${MPIAPP_SRUN:---mpi=pmix}"
    read -ra prefix <<<"${MPIAPP_PREFIX:-}"
    # srun of Slurm 22.05 to 23.02 does not take --cpus-per-task over
    export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
    # without the option a rank that is killed leaves the others waiting
    srun --kill-on-bad-exit=1 "${launch[@]}" ${prefix[@]+"${prefix[@]}"} \
        python -m "mpiapp.${program[0]}" "${program[@]:1}" --resume \
        --threads-per-rank "$SRUN_CPUS_PER_TASK" "$@" &
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
