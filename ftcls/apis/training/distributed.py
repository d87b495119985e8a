"""Starting the process group: NCCL where there are GPUs, gloo where there are none; torchrun, Slurm or MPI."""
import os
import socket
import subprocess
import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine.dist import init_dist, is_distributed

from ftcls.utils import ConfigError

__all__ = ['init_distributed', 'close_distributed', 'count_event']


def init_distributed(launcher: str, dist_cfg: dict[str, Any] | None = None) -> int:
    """Join the process group that a launcher has laid out in the environment.

    Args:
        launcher: One of ``LAUNCHERS``.
        dist_cfg: The config's ``env_cfg.dist_cfg`` (``backend``, ``timeout`` …).

    Returns:
        The number of processes.

    Raises:
        ConfigError: If the launcher's variables are missing, or there are fewer GPUs than processes.
    """
    if launcher == 'none':
        return 1
    if is_distributed():
        return torch_dist.get_world_size()
    options = dict(dist_cfg or {})
    _set_environment(launcher)
    local_world = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    gpus = torch.cuda.device_count()
    if 0 < gpus < local_world:
        raise ConfigError(
            f'{local_world} processes were asked for on this machine, which has {gpus} GPU'
            f'{"s" if gpus > 1 else ""}; use GPUS={gpus}, or CUDA_VISIBLE_DEVICES= for processes on the CPU')
    if gpus:
        init_dist('pytorch', **{'backend': 'nccl', **options})
    else:
        # MMEngine's init_dist calls torch.cuda.set_device, which fails without a GPU.
        options['backend'] = 'gloo'
        torch_dist.init_process_group(**options)
    return torch_dist.get_world_size()


def _set_environment(launcher: str) -> None:
    """Translate Slurm's and MPI's variables into torch's; torchrun sets them itself."""
    env = os.environ
    if launcher == 'slurm':
        _need(launcher, 'SLURM_PROCID', 'SLURM_NTASKS')
        env['RANK'], env['WORLD_SIZE'] = env['SLURM_PROCID'], env['SLURM_NTASKS']
        # Over what is set: the tools set LOCAL_RANK to their --local-rank, 0 where it is not given.
        env['LOCAL_RANK'] = env.get('SLURM_LOCALID', env.get('LOCAL_RANK', '0'))
        tasks = env.get('SLURM_NTASKS_PER_NODE') or env.get('SLURM_TASKS_PER_NODE', '1')
        env.setdefault('LOCAL_WORLD_SIZE', tasks.split('(')[0].split(',')[0])
        if 'MASTER_ADDR' not in env:
            env['MASTER_ADDR'] = _first_slurm_node(env.get('SLURM_NODELIST', socket.gethostname()))
        env.setdefault('MASTER_PORT', env.get('PORT', '29500'))
    elif launcher == 'mpi':
        _need(launcher, 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE')
        env['RANK'], env['WORLD_SIZE'] = env['OMPI_COMM_WORLD_RANK'], env['OMPI_COMM_WORLD_SIZE']
        env['LOCAL_RANK'] = env.get('OMPI_COMM_WORLD_LOCAL_RANK', env.get('LOCAL_RANK', '0'))
        env.setdefault('LOCAL_WORLD_SIZE', env.get('OMPI_COMM_WORLD_LOCAL_SIZE', '1'))
        env.setdefault('MASTER_PORT', env.get('PORT', '29500'))
        _need(launcher, 'MASTER_ADDR')
    elif launcher == 'pytorch':
        _need(launcher, 'RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


def _need(launcher: str, *names: str) -> None:
    missing = [n for n in names if n not in os.environ]
    if missing:
        start = {'pytorch': 'tools/dist_train.sh or torchrun', 'slurm': 'tools/slurm_train.sh or srun', 'mpi': 'mpirun'}
        raise ConfigError(
            f'--launcher {launcher}: {", ".join(missing)} not set in the environment; start with {start[launcher]}')


def _first_slurm_node(nodelist: str) -> str:
    """Ask Slurm for the first host of its compressed list."""
    try:
        done = subprocess.run(['scontrol', 'show', 'hostname', nodelist], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as err:
        raise ConfigError(
            f'--launcher slurm: cannot resolve SLURM_NODELIST={nodelist!r} ({err}); set MASTER_ADDR') from err
    return done.stdout.split()[0]


def count_event(name: str) -> int:
    """Count an event over all processes of the run, for what shall be said once.

    The count is kept in the store that the processes met at; it needs no process group, and none of the others to answer.

    Returns:
        How often the event has happened, this time included. Where the store cannot be reached: 1 in the first process of
        each machine, 2 in the others.
    """
    env = os.environ
    if int(env.get('WORLD_SIZE', 1)) == 1:
        return 1
    try:
        store = torch_dist.TCPStore(
            env['MASTER_ADDR'],
            int(env['MASTER_PORT']),
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=5))
        # A restart by torchrun meets at the same store.
        return store.add(f'ftcls/{env.get("TORCHELASTIC_RESTART_COUNT", 0)}/{name}', 1)
    except (KeyError, RuntimeError):
        return 1 if int(env.get('LOCAL_RANK', 0)) == 0 else 2


def close_distributed() -> None:
    """Leave the process group, so that no process hangs or warns at its end."""
    if is_distributed():
        if torch_dist.get_backend() == 'gloo':
            # Up to torch 2.7, destroying the group holds the interpreter's lock while it joins gloo's threads, one of which
            # may be waiting for that lock to free the last tensors: a sleep lets it have it (pytorch/pytorch#154976).
            time.sleep(0.1)
        torch_dist.destroy_process_group()
