"""The number of worker processes: chosen for the machine where the config does not say it, and kept on resume."""
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.config import Config

from ftcls.config import resolve as resolve_module
from ftcls.config.resolve import EvalOptions, Facts, resolve
from ftcls.utils import processes
from ftcls.utils.processes import usable_cores


def chosen(cores: int, before: dict | None = None, kind: str = 'CustomDataset', **settings: Any) -> tuple[dict, str]:
    """What a loader's settings become on a machine with so many cores, and the words of the preflight."""
    loader = dict(batch_size=2, dataset=dict(type='RepeatDataset', times=2, dataset=dict(type=kind)), **settings)
    cfg = Config(dict(model=dict(type='ImageClassifier'), train_dataloader=loader))
    facts = Facts() if before is None else Facts(loaders=dict(train=before))
    cfg.test_dataloader = dict(loader)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolve_module, 'usable_cores', lambda: cores)
        resolved = resolve(cfg, EvalOptions(), facts)
    assert resolved.cfg.test_dataloader.get('persistent_workers') in (None, loader.get('persistent_workers',
                                                                                       False), False)
    return resolved.cfg.train_dataloader, resolved.workers['train']


@pytest.mark.parametrize('settings', [{}, dict(num_workers='auto')])
@pytest.mark.parametrize(('cores', 'number'), [(2, 2), (8, 8), (64, 16)])
def test_one_worker_per_usable_core(settings, cores, number):
    loader, words = chosen(cores, **settings)
    assert (loader.num_workers, loader.persistent_workers) == (number, True) and loader.timeout > 0
    assert words == f'{number} (auto: {cores} usable cores)'


@pytest.mark.parametrize('has_gpu', [False, True])
def test_a_single_core_and_a_gpu(monkeypatch, has_gpu):
    cuda = SimpleNamespace(is_available=lambda: has_gpu)
    monkeypatch.setattr(resolve_module, 'torch', SimpleNamespace(cuda=cuda))
    loader, _ = chosen(1)
    assert loader.num_workers == has_gpu and loader.get('pin_memory', False) is has_gpu
    assert chosen(4, pin_memory=False)[0].pin_memory is False


def test_images_in_memory_need_no_workers():
    loader, words = chosen(8, kind='CIFAR10', persistent_workers=True, prefetch_factor=3)
    assert (loader.num_workers, loader.persistent_workers, loader.prefetch_factor) == (0, False, None)
    assert words == '0 (auto: the images are in memory)'


def test_a_number_that_is_given_stays():
    assert chosen(4, num_workers=3, persistent_workers=False)[0].persistent_workers is False
    assert chosen(4, num_workers=3)[1] == '3 (as given)' and chosen(4, dict(num_workers=1), num_workers=3)[1][0] == '3'
    assert chosen(4, num_workers=5)[1] == '5 (NOTE: more than 4 usable cores)'


@pytest.mark.parametrize(('before', 'number'), [(dict(num_workers=3, persistent_workers=True), 3),
                                                (dict(num_workers=3), 3), (dict(batch_size=2), 0)])
def test_a_resumed_run_keeps_what_its_random_numbers_depend_on(before, number):
    loader, words = chosen(8, before)
    assert loader.num_workers == number and words == f'{number} (auto: as in the checkpoint)'
    assert bool(loader.get('persistent_workers')) is bool(before.get('persistent_workers'))


def test_cores_are_shared_by_the_processes_of_a_machine(monkeypatch, tmp_path):
    for name in ('LOCAL_WORLD_SIZE', 'SLURM_NTASKS'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes.os, 'sched_getaffinity', lambda pid: set(range(12)), raising=False)
    monkeypatch.setattr(processes, '_QUOTA', tmp_path / 'cpu.max')
    assert usable_cores() == 12
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    assert usable_cores() == 3
    monkeypatch.setenv('SLURM_NTASKS', '4')
    assert usable_cores() == 12
    (tmp_path / 'cpu.max').write_text('250000 100000\n')
    assert usable_cores() == 2
    (tmp_path / 'cpu.max').write_text('max 100000\n')
    assert usable_cores() == 12
