"""What launchers say in the environment, and what is made of it; the processes themselves are in tests/end_to_end."""
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
import torch

from ftcls.apis.training import distributed
from ftcls.apis.training.distributed import count_event, init_distributed
from ftcls.utils import ConfigError

_VARIABLES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'PORT')


@pytest.fixture(autouse=True)
def environment() -> Iterator[dict[str, str]]:
    """An environment of no launcher; whatever is set in it is undone."""
    with mock.patch.dict(os.environ):
        for name in list(os.environ):
            if name in _VARIABLES or name.startswith(('SLURM_', 'OMPI_')):
                del os.environ[name]
        yield os.environ


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The arguments of each process group that was to be joined; none is."""
    calls: list[dict] = []
    monkeypatch.setattr(distributed.torch_dist, 'init_process_group', lambda **options: calls.append(options))
    monkeypatch.setattr(distributed.torch_dist, 'get_world_size', lambda: int(os.environ['WORLD_SIZE']))
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    return calls


def _torchrun(world: int) -> dict[str, str]:
    return dict(RANK='0', WORLD_SIZE=str(world), LOCAL_RANK='0', LOCAL_WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1',
                MASTER_PORT='29500')  # yapf: disable


def test_no_launcher() -> None:
    assert init_distributed('none') == 1


@pytest.mark.parametrize('gpus, said', [(1, '1 GPU; use GPUS=1'), (4, '4 GPUs; use GPUS=4')])
def test_fewer_gpus_than_processes(gpus: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ.update(_torchrun(8))
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    with pytest.raises(ConfigError, match=f'8 processes on a machine with {said}'):
        init_distributed('pytorch')


def test_gpus_that_suffice_are_used(joined: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ.update(_torchrun(2))
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    calls = []
    monkeypatch.setattr(distributed, 'init_dist', lambda launcher, **options: calls.append((launcher, options)))
    init_distributed('pytorch', dict(timeout=60))
    assert calls == [('pytorch', dict(backend='nccl', timeout=60))] and joined == []


def test_without_gpu_gloo_takes_the_place_of_nccl(joined: list[dict]) -> None:
    os.environ.update(_torchrun(2))
    given = dict(backend='nccl')
    assert init_distributed('pytorch', given) == 2
    assert joined == [dict(backend='gloo', timeout=timedelta(minutes=4))] and given == dict(backend='nccl')


def test_torchrun_is_missing() -> None:
    os.environ.update(RANK='0')
    with pytest.raises(ConfigError, match='WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT not set.*dist_train.sh'):
        init_distributed('pytorch')


def _fake_scontrol(folder: Path, body: str) -> None:
    script = folder / 'scontrol'
    script.write_text(f'#!/bin/sh\n{body}\n')
    script.chmod(0o755)
    os.environ['PATH'] = f'{folder}{os.pathsep}{os.environ["PATH"]}'


def test_slurm(joined: list[dict], tmp_path: Path) -> None:
    """Two nodes of four processes; this is the second one of the second node, whose LOCAL_RANK a tool has set to 0."""
    _fake_scontrol(tmp_path, '[ "$*" = "show hostname node[3-4]" ] && printf "node3\\nnode4\\n"')
    os.environ.update(
        LOCAL_RANK='0',
        SLURM_PROCID='5',
        SLURM_NTASKS='8',
        SLURM_LOCALID='1',
        SLURM_TASKS_PER_NODE='4(x2)',
        SLURM_NODELIST='node[3-4]')
    assert init_distributed('slurm') == 8
    assert {
        name: os.environ.get(name)
        for name in _VARIABLES
    } == dict(
        RANK='5',
        WORLD_SIZE='8',
        LOCAL_RANK='1',
        LOCAL_WORLD_SIZE='4',
        MASTER_ADDR='node3',
        MASTER_PORT='29500',
        PORT=None)
    assert joined == [dict(backend='gloo', timeout=timedelta(minutes=4))]


def test_slurm_takes_what_the_user_set(joined: list[dict]) -> None:
    os.environ.update(SLURM_PROCID='0', SLURM_NTASKS='2', SLURM_NODELIST='a[1-2]', MASTER_ADDR='10.0.0.1', PORT='29600')
    assert init_distributed('slurm') == 2
    assert os.environ['MASTER_ADDR'] == '10.0.0.1' and os.environ['MASTER_PORT'] == '29600'


def test_slurm_counts_the_gpus_of_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    os.environ.update(SLURM_PROCID='0', SLURM_NTASKS='16', SLURM_NTASKS_PER_NODE='8', MASTER_ADDR='10.0.0.1')
    with pytest.raises(ConfigError, match='8 processes on a machine with 4 GPUs'):
        init_distributed('slurm')


def test_slurm_that_does_not_answer(tmp_path: Path) -> None:
    _fake_scontrol(tmp_path, 'exit 1')
    os.environ.update(SLURM_PROCID='0', SLURM_NTASKS='2', SLURM_NODELIST='a[1-2]')
    with pytest.raises(ConfigError, match=r"SLURM_NODELIST='a\[1-2\]' cannot be resolved.*set MASTER_ADDR"):
        init_distributed('slurm')


def test_slurm_is_missing() -> None:
    with pytest.raises(ConfigError, match='SLURM_PROCID, SLURM_NTASKS not set.*slurm_train.sh. or srun'):
        init_distributed('slurm')


def test_mpi(joined: list[dict]) -> None:
    os.environ.update(
        LOCAL_RANK='0',
        OMPI_COMM_WORLD_RANK='3',
        OMPI_COMM_WORLD_SIZE='4',
        OMPI_COMM_WORLD_LOCAL_RANK='1',
        OMPI_COMM_WORLD_LOCAL_SIZE='2')
    with pytest.raises(ConfigError, match='MASTER_ADDR not set'):
        init_distributed('mpi')
    os.environ['MASTER_ADDR'] = 'host'
    assert init_distributed('mpi') == 4
    assert {
        name: os.environ.get(name)
        for name in _VARIABLES
    } == dict(
        RANK='3',
        WORLD_SIZE='4',
        LOCAL_RANK='1',
        LOCAL_WORLD_SIZE='2',
        MASTER_ADDR='host',
        MASTER_PORT='29500',
        PORT=None)
    assert joined == [dict(backend='gloo', timeout=timedelta(minutes=4))]


def test_events_are_counted_over_processes() -> None:
    assert count_event('x') == count_event('x') == 1  # one process
    store = torch.distributed.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
    os.environ.update(WORLD_SIZE='2', RANK='0', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(store.port))
    assert [count_event('x'), count_event('x'), count_event('y')] == [1, 2, 1]


def test_events_where_the_store_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process of the machine is taken for the one to speak."""
    os.environ.update(WORLD_SIZE='2', LOCAL_RANK='0')
    assert count_event('x') == 1
    os.environ.update(LOCAL_RANK='1')
    assert count_event('x') == 2
