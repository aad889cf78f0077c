"""Who died: a small process beside each rank that notes its end.

When one rank dies most launchers kill the others, and nothing that is left
tells whose record it was: a process that is killed says nothing.  So a shell
(1 MB, asleep) holds the other end of a pipe.  At the end of file without a
farewell it leaves an empty file, whose time is that of the death, and a line
on stderr.  A rank that was sent a signal first, as launchers do with those
that survive, is not noted: Python's C handler writes the signal to the pipe,
even while a native call holds the interpreter.  Nor is one whose launcher
has died: MPI ends such ranks without a signal.
"""
from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import traceback
from pathlib import Path
from typing import IO

#: Slurm signals every process of a step, this one too: it stays.
#: What follows a colon names the file to leave, '' for none; what else comes
#: are numbers of signals, 10 (SIGUSR1, a line end) among them.  Crash reports
#: come by descriptor.
SCRIPT = '''
trap '' HUP INT QUIT TERM USR1 USR2 XCPU
note= told=
while IFS= read -r line; do
    case $line in
        :*) note=${line#:} ;;
        *:*) told=1 note=${line#*:} ;;
        *) told=1 ;;
    esac
done
[ -z "$line" ] || told=1
[ -n "$note" ] || exit 0
if [ -n "$2" ]; then
    launcher=
    { IFS= read -r launcher </proc/"$2"/stat; } 2>/dev/null
    case $launcher in '' | *') Z '* | *') X '*) told=1 ;; esac
fi
[ -z "$told" ] || [ -s /dev/fd/"$1" ] || exit 0
true >"$note"
[ ! -s /dev/fd/"$1" ] || cat /dev/fd/"$1" >>"$note"
why=$(sed -n '1{s/Fatal Python error: //
s/^Timeout (\\(.*\\))!/no sign of life for \\1/
s/^/: /p
}' /dev/fd/"$1")
printf '\\nmpiapp: %s died at work%s; ' "$0" "$why" >&2
echo 'what is finished is safe, go on with --resume' >&2
'''

#: the shell ends within milliseconds of a farewell
PATIENCE_SECONDS = 5.0
#: of Open MPI 4 and 5, on the first node and on others
LAUNCHERS = frozenset({'mpirun', 'mpiexec', 'orterun', 'orted', 'prterun',
                       'prte', 'prted'})


class Witness:
    """The witness of this process; `report` is where crashes are told.

    Start it before MPI; `watch` names the file to leave if this process
    dies from now on, `farewell` that it may go.
    """

    def __init__(self, name: str) -> None:
        self.report: IO[bytes] = tempfile.TemporaryFile()
        fd = self.report.fileno()
        self._shell = subprocess.Popen(
            ['/bin/sh', '-c', SCRIPT, name, str(fd), launcher()],
            pass_fds=(fd,), stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, start_new_session=True, bufsize=0)
        assert self._shell.stdin is not None
        self._pipe = self._shell.stdin
        os.set_blocking(self._pipe.fileno(), False)
        self._old = signal.set_wakeup_fd(
            self._pipe.fileno(), warn_on_full_buffer=False)

    def watch(self, path: Path) -> None:
        """Have `path` made if this process dies."""
        self._say(str(path.absolute()))

    def farewell(self) -> None:
        """Say that nothing is at work here any more."""
        self._say('')

    def tell(self, error: Exception) -> None:
        """Report an exception that is going to end this process."""
        lines = traceback.format_exception_only(error)
        self.report.write(''.join(lines).encode('utf-8', 'replace'))
        self.report.flush()

    def close(self) -> None:
        """End the witness; a second call does nothing."""
        if self._pipe.closed:
            return
        signal.set_wakeup_fd(self._old)
        self.farewell()
        self._pipe.close()
        try:
            self._shell.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            # a forked child of this process holds the pipe open
            self._shell.kill()
            self._shell.wait()
        self.report.close()

    def _say(self, text: str) -> None:
        try:
            self._pipe.write(os.fsencode(f':{text}\n'))
        except OSError:
            # it was killed: deaths go unexplained, the work goes on
            pass


class NoWitness:
    """Stand-in where nobody watches (tests, other systems)."""

    report: IO[bytes] | None = None

    def watch(self, path: Path) -> None:
        """Do nothing."""

    def farewell(self) -> None:
        """Do nothing."""

    def tell(self, error: Exception) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def launcher() -> str:
    """Return the process of Open MPI that started this one, '' for none.

    A wrapper in between (a script, a container) ends with its rank, and so
    tells nothing.
    """
    parent = os.getppid()
    try:
        name = Path(f'/proc/{parent}/comm').read_text().strip()
    except OSError:
        return ''
    return str(parent) if name in LAUNCHERS else ''


def call_witness(name: str) -> Witness | NoWitness:
    """Start a witness, or none where that fails: it is no condition."""
    try:
        return Witness(name)
    except (OSError, ValueError):
        # no /bin/sh, no more processes; or not the main thread
        return NoWitness()
