"""The process group of torchrun, Slurm or MPI: NCCL with GPUs, gloo without."""
import os
import re
import socket
import subprocess
import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine.dist import init_dist, is_distributed

from ftcls.utils import ConfigError
from ftcls.utils.names import plural
from ftcls.utils.processes import PATIENCE, show_life

__all__ = ['init_distributed', 'close_distributed', 'count_event']

_LAUNCHERS = dict(  # how to start; the variables of rank, number of processes and rank on the machine
    pytorch=('`ftcls dist_train` (tools/dist_train.sh) or torchrun', 'RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    slurm=('`ftcls slurm_train` (tools/slurm_train.sh) or srun', 'SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    mpi=('mpirun', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'))


def init_distributed(launcher: str, dist_cfg: dict[str, Any] | None = None) -> int:
    """Join the process group that a launcher describes in the environment.

    Args:
        launcher: One of ``LAUNCHERS``.
        dist_cfg: The config's ``env_cfg.dist_cfg`` (``backend``, ``timeout`` in seconds …).

    Returns:
        The number of processes.

    Raises:
        ConfigError: If the launcher's variables are missing, or there are fewer GPUs than processes.
    """
    if launcher == 'none':
        return 1
    if not is_distributed():
        _join(launcher, dist_cfg or {})
    show_life(torch_dist.group.WORLD)
    return torch_dist.get_world_size()


def _join(launcher: str, dist_cfg: dict[str, Any]) -> None:
    options = {'timeout': PATIENCE, **dist_cfg}
    _set_environment(launcher)
    local_world = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    gpus = torch.cuda.device_count()
    if 0 < gpus < local_world:
        text = f'{local_world} processes on a machine with {plural(gpus, "GPU")}'
        raise ConfigError(f'{text}; use GPUS={gpus}, or CUDA_VISIBLE_DEVICES= for processes on the CPU')
    if gpus:
        init_dist('pytorch', **{'backend': 'nccl', **options})
    else:
        seconds = timedelta(seconds=options.pop('timeout'))  # MMEngine's init_dist needs a GPU
        torch_dist.init_process_group(**{**options, 'backend': 'gloo', 'timeout': seconds})


def _set_environment(launcher: str) -> None:
    """Translate Slurm's and MPI's variables into torch's; torchrun sets them itself."""
    env = os.environ
    _, rank, size, local_rank = _LAUNCHERS[launcher]
    if launcher == 'pytorch':
        _require(launcher, rank, size, local_rank, 'MASTER_ADDR', 'MASTER_PORT')
        return
    _require(launcher, rank, size)
    env['RANK'], env['WORLD_SIZE'] = env[rank], env[size]
    env['LOCAL_RANK'] = env.get(local_rank, env.get('LOCAL_RANK', '0'))  # the tools set it to --local-rank or 0
    env.setdefault('MASTER_PORT', env.get('PORT', '29500'))
    if launcher == 'slurm':
        tasks = env.get('SLURM_NTASKS_PER_NODE') or env.get('SLURM_TASKS_PER_NODE', '1')
        env.setdefault('LOCAL_WORLD_SIZE', re.match(r'\d*', tasks)[0])  # '2(x3),1' on several nodes
        if 'MASTER_ADDR' not in env:
            env['MASTER_ADDR'] = _first_slurm_node(env.get('SLURM_NODELIST', socket.gethostname()))
    else:
        env.setdefault('LOCAL_WORLD_SIZE', env.get('OMPI_COMM_WORLD_LOCAL_SIZE', '1'))
        _require(launcher, 'MASTER_ADDR')


def _require(launcher: str, *names: str) -> None:
    if missing := [name for name in names if name not in os.environ]:
        raise ConfigError(f'--launcher {launcher}: {", ".join(missing)} not set; start with {_LAUNCHERS[launcher][0]}')


def _first_slurm_node(nodelist: str) -> str:
    """Ask Slurm for the first host of its compressed list."""
    try:
        done = subprocess.run(['scontrol', 'show', 'hostname', nodelist], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as err:
        raise ConfigError(f'SLURM_NODELIST={nodelist!r} cannot be resolved ({err}); set MASTER_ADDR') from err
    return done.stdout.split()[0]


def count_event(name: str, times: int = 1) -> int:
    """Count an event over all processes of the run (or with ``times=0`` look), for messages that are printed once.

    The count is kept in the store at which the processes met; it needs neither a process group nor the other processes.

    Returns:
        How often the event has happened, this time included. If the store cannot be reached: 1 in the first process of
        each machine, 2 in the others.
    """
    env = os.environ
    if int(env.get('WORLD_SIZE', 1)) == 1:
        return 1
    try:
        place, limit = (env['MASTER_ADDR'], int(env['MASTER_PORT'])), timedelta(seconds=5)
        store = torch_dist.TCPStore(*place, is_master=False, wait_for_workers=False, timeout=limit)
        return store.add(f'ftcls/{env.get("TORCHELASTIC_RESTART_COUNT", 0)}/{name}', times)  # a restart meets here
    except (KeyError, RuntimeError):
        return 1 if int(env.get('LOCAL_RANK', 0)) == 0 else 2


def close_distributed() -> None:
    """Leave the process group, so that no process waits or warns at its end.

    Up to torch 2.7, destroying the group keeps the interpreter's lock while it joins gloo's threads, one of which may
    need that lock to free the last tensors; a sleep gives it the lock (pytorch/pytorch#154976).
    """
    if is_distributed():
        if torch_dist.get_backend() == 'gloo':
            time.sleep(0.1)
        torch_dist.destroy_process_group()
