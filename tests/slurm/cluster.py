"""A small Slurm of one's own: daemons in a folder, on private ports.

Nothing of the machine is touched.  As root each node has its own host name
and its own /dev/shm, so that the ranks of two nodes share no memory.
"""
from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: the daemons together are up after 0.4 s
START_SECONDS = 30
#: a command of Slurm answers in 0.02 s, a job is gone after KillWait
ANSWER_SECONDS = 30
CPUS_PER_NODE = 2

DAEMONS = ('munged', 'slurmctld', 'slurmd')
TOOLS = ('srun', 'sbatch', 'scancel', 'sinfo', 'squeue', 'setpriv')

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin={task_plugin}
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=pmix
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
ReturnToService=2
KillWait=20
SlurmdTimeout=10
NodeName=n[1-{n_nodes}] NodeHostname={host} NodeAddr=127.0.0.1 \
Port=[{first_port}-{last_port}] CPUs={cpus} RealMemory=500 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10 \
State=UP
"""


def path_with_daemons() -> str:
    """Return PATH; Debian keeps the daemons where root alone looks."""
    return os.pathsep.join((os.environ.get('PATH', os.defpath),
                            '/usr/sbin', '/sbin'))


def missing_programs() -> list[str]:
    """Return the programs of Slurm and munge that are not installed."""
    path = path_with_daemons()
    return [p for p in DAEMONS + TOOLS if not shutil.which(p, path=path)]


def free_ports(n: int) -> int:
    """Return the first of n successive ports that nobody listens on."""
    for first in range(21_000 + os.getpid() % 500 * 20, 32_000, 20):
        sockets = [socket.socket() for _ in range(n)]
        try:
            for i, s in enumerate(sockets):
                s.bind(('127.0.0.1', first + i))
            return first
        except OSError:
            continue
        finally:
            for s in sockets:
                s.close()
    raise RuntimeError('no free ports below 32000')


@dataclass
class Cluster:
    """n_nodes nodes n1, n2 ... of 2 CPUs each; `start` before use."""

    folder: Path
    n_nodes: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def nodes_differ(self) -> bool:
        """Tell whether each node has its own name and shared memory."""
        return os.geteuid() == 0

    @property
    def binds(self) -> bool:
        """Tell whether ranks are bound; to cores that exist, that is."""
        return len(os.sched_getaffinity(0)) >= CPUS_PER_NODE

    @property
    def environment(self) -> Mapping[str, str]:
        """Return what a user's shell on this cluster has set."""
        foreign = ('SLURM_', 'PMI', 'OMPI_COMM_', 'PALS_')
        kept = {k: v for k, v in os.environ.items()
                if not k.startswith(foreign)}
        return {**kept, 'PATH': path_with_daemons(),
                'SLURM_CONF': str(self.folder / 'slurm.conf')}

    def start(self) -> None:
        """Start all daemons.

        Raises:
            RuntimeError: a daemon ended, or the nodes did not come up.
        """
        self._write_files()
        self._spawn('munged', '--foreground', '--force', '--num-threads=2',
                    *(f'--{name}-file={self.folder}/munge/{name}'
                      for name in ('key', 'pid', 'log', 'seed')),
                    f'--socket={self.folder}/munge/socket')
        self._wait_for('munged', (self.folder / 'munge/socket').exists)
        self._spawn('slurmctld', '-D', '-c')
        for i in range(1, self.n_nodes + 1):
            self._spawn(*self._slurmd(i))
        self._wait_for('the nodes', self._nodes_are_idle)

    def stop(self) -> None:
        """End the jobs, then the daemons that were started here."""
        try:
            self.call('scancel', '--user', str(os.geteuid()))
            self.wait_until_empty()
        finally:
            self.stop_daemons()

    def stop_daemons(self) -> None:
        """End what `start` has started so far."""
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(timeout=ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def call(self, *words: str) -> str:
        """Run a command of Slurm; returns what it prints."""
        return subprocess.run(
            words, env=self.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            timeout=ANSWER_SECONDS).stdout

    def wait_until_empty(self) -> None:
        """Return when no job is left, those that are ending included."""
        self._wait_for('the end of the jobs',
                       lambda: not self.call('squeue', '-h').strip())

    def logs(self) -> str:
        """Return the last lines of all daemons."""
        parts = []
        for path in sorted(self.folder.glob('*.log')):
            lines = path.read_text(errors='replace').splitlines()
            parts += [f'== {path.name}', *lines[-15:]]
        return '\n'.join(parts)

    def _write_files(self) -> None:
        host = socket.gethostname().split('.')[0]
        first = free_ports(self.n_nodes + 1)
        (self.folder / 'slurm.conf').write_text(CONFIGURATION.format(
            host=host, folder=self.folder, user=_user_name(),
            n_nodes=self.n_nodes, cpus=CPUS_PER_NODE, control_port=first,
            first_port=first + 1, last_port=first + self.n_nodes,
            task_plugin='task/affinity' if self.binds else 'task/none'))
        names = ' '.join(f'n{i + 1}' for i in range(self.n_nodes))
        known = Path('/etc/hosts').read_text()
        (self.folder / 'hosts').write_text(f'{known}\n127.0.0.1 {names}\n')
        (self.folder / 'munge').mkdir(mode=0o700)
        (self.folder / 'state').mkdir()
        key = self.folder / 'munge/key'
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        for i in range(1, self.n_nodes + 1):
            self._write_node_files(self.folder / f'conf-n{i}')

    def _write_node_files(self, conf: Path) -> None:
        """Give a node its own PMIx folder; the default is one per host."""
        pmix = conf / 'pmix'
        pmix.mkdir(parents=True)
        (conf / 'slurm.conf').symlink_to(self.folder / 'slurm.conf')
        (conf / 'mpi.conf').write_text(f'PMIxCliTmpDirBase={pmix}\n')

    def _slurmd(self, i: int) -> Sequence[str]:
        conf = self.folder / f'conf-n{i}' / 'slurm.conf'
        plain = ('slurmd', '-D', '-N', f'n{i}', '-f', str(conf))
        if not self.nodes_differ:
            return plain
        return ('unshare', '--uts', '--mount', 'sh', '-euc',
                'hostname "$0"; mount -t tmpfs tmpfs /dev/shm; '
                f'mount --bind {self.folder}/hosts /etc/hosts; exec "$@"',
                f'n{i}', *plain)

    def _spawn(self, *words: str) -> None:
        """Start a daemon that does not outlive this process."""
        with open(self.folder / 'daemons.log', 'ab') as log:
            self.processes.append(subprocess.Popen(
                ['setpriv', '--pdeathsig', 'TERM', *words],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True))

    def _nodes_are_idle(self) -> bool:
        states = self.call('sinfo', '-h', '-N', '-o', '%T').split()
        return states == ['idle'] * self.n_nodes

    def _wait_for(self, what: str, is_there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_there():
            dead = [p.args for p in self.processes if p.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise RuntimeError(f'Slurm: {what} did not come; ended: '
                                   f'{dead}\n{self.logs()}')
            time.sleep(0.05)


def _user_name() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
