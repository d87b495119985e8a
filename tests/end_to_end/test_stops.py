"""Signals, frozen and killed workers, in processes of their own: what is left, what is said, the exit code."""
import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from preloaded_python import preloaded_python
from torch.utils.data import DataLoader

from ftcls.apis import TrainOptions, train
from ftcls.apis.training.machine_faults import machine_errors, prepare_workers
from ftcls.experiments.run import Run
from ftcls.signals import RunStopped
from ftcls.utils import processes
from ftcls.utils.errors import MachineError

ROOT = Path(__file__).resolve().parents[2]
HOOK = """
import time
from mmengine.hooks import Hook
from ftcls.registry import HOOKS

@HOOKS.register_module()
class Mark(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        print('iteration', runner.iter + 1, flush=True)
        time.sleep(.1)
"""


def same(one: Path, other: Path) -> bool:
    states = [torch.load(path, weights_only=True)['state_dict'] for path in (one, other)]
    return all(torch.equal(value, states[1][key]) for key, value in states[0].items())


class Kill(Hook):
    """Sends this process a signal."""
    priority = 'VERY_LOW'

    def __init__(self, number: int, at: int, validating: bool = False) -> None:
        self.number, self.at, self.validating = number, at, validating

    def after_train_iter(self,
                         runner: object,
                         batch_idx: int,
                         data_batch: object = None,
                         outputs: object = None) -> None:
        if runner.iter + 1 == self.at and not self.validating:
            os.kill(os.getpid(), self.number)

    def after_val_iter(self, runner: object, batch_idx: int, data_batch: object = None, outputs: object = None) -> None:
        if runner.iter == self.at and self.validating:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize('number, at, validating, interval', [
    (signal.SIGTERM, 3, False, 1),
    pytest.param(signal.SIGINT, 8, False, 1, marks=pytest.mark.slow),
    pytest.param(signal.SIGUSR1, 8, True, 1, marks=pytest.mark.slow),
    (signal.SIGTERM, 8, True, 2),
], ids=['within an epoch', 'last batch', 'validation', 'validation without a checkpoint'])  # yapf: disable
def test_stopped_and_resumed_run_is_the_uninterrupted_one(number: int, at: int, validating: bool, interval: int,
                                                          digits: Callable[..., Config], tmp_path: Path) -> None:
    cfg = digits(**{'randomness.seed': 3, 'default_hooks.checkpoint.interval': interval})
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'whole')))
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with pytest.raises(RunStopped, match=rf'{signal.Signals(number).name}.*iteration {at} of 16.*--resume') as caught:
        train(cfg, TrainOptions(work_dir=str(tmp_path / 'run')), [Kill(number, at, validating)])
    assert caught.value.signum == number
    assert before == [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    assert not (tmp_path / 'run' / '.run.lock').exists()
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'run'), resume=True))
    assert same(tmp_path / 'whole' / 'epoch_2.pth', tmp_path / 'run' / 'epoch_2.pth')
    assert not list((tmp_path / 'run').glob('iter_*.pth'))


def test_signals_of_another_thread_are_left_alone(digits: Callable[..., Config], tmp_path: Path) -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    class Look(Hook):

        def before_train(self, runner: object) -> None:
            seen.append(signal.getsignal(signal.SIGTERM))

    cfg = digits(**{'train_cfg.max_epochs': 1})
    thread = threading.Thread(target=train, args=(cfg, TrainOptions(work_dir=str(tmp_path)), [Look()]))
    thread.start()
    thread.join()
    assert seen == [before] and (tmp_path / 'epoch_1.pth').is_file()


@pytest.fixture
def started(tmp_path: Path, digits: Callable[..., Config]) -> Callable[..., subprocess.Popen]:
    """Start ``tools/train.py`` with two workers, up to its second iteration."""
    (tmp_path / 'mark.py').write_text(HOOK)
    cfg = digits(**{'train_dataloader.num_workers': 2, 'train_dataloader.batch_size': 4, 'train_cfg.max_epochs': 9})
    cfg.custom_imports, cfg.custom_hooks = dict(imports=['mark']), [dict(type='Mark')]
    cfg.dump(tmp_path / 'config.py')

    def start(*options: str) -> subprocess.Popen:
        env = {**os.environ, 'PYTHONPATH': f'{ROOT}:{tmp_path}', 'OMP_NUM_THREADS': '1'}
        command = [sys.executable, str(ROOT / 'tools' / 'train.py'), 'config.py', '--work-dir', 'run', *options]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True)  # yapf: disable
        while process.stdout.readline() != 'iteration 2\n':
            assert process.poll() is None, process.stderr.read()
        return process

    return start


def group(process: subprocess.Popen) -> list[int]:
    """The processes that a process has started, and itself."""
    done = subprocess.run(['ps', '-o', 'pid=,stat=', '-g', str(process.pid)], capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return [int(pid) for pid, state in lines if not state.startswith('Z')]


def test_signal_to_all_processes_of_a_tool(started: Callable, tmp_path: Path) -> None:
    process = started()
    assert len(group(process)) == 3
    os.killpg(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and 'Traceback' not in errors
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert errors.count('--resume') == 1 and output.count('stopped after') == 0 and group(process) == []
    assert log.count('stopped after') == 1
    assert len(list((tmp_path / 'run').glob('iter_*.pth'))) == 1


FROZEN = 'train_dataloader.num_workers: worker ', 'of 2', 'no batch for 3 s', 'train_dataloader.timeout'


@pytest.mark.parametrize('number, said', [
    pytest.param(signal.SIGSTOP, FROZEN, id='frozen', marks=pytest.mark.slow),
    pytest.param(
        signal.SIGKILL, ('a process that loads images', 'memory', 'num_workers'), id='killed', marks=pytest.mark.slow),
])
def test_lost_worker(number: int, said: tuple[str, ...], started: Callable) -> None:
    process = started('--cfg-options', 'train_dataloader.timeout=3')
    os.kill(max(group(process)), number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and 'Traceback' not in errors
    assert all(part in errors for part in said), errors
    assert group(process) == []


@pytest.mark.slow
def test_second_signal_ends_at_once(started: Callable) -> None:
    process = started()
    worker = max(group(process))
    os.kill(worker, signal.SIGSTOP)  # so that there is no next step
    time.sleep(2)
    process.terminate()
    time.sleep(.5)
    process.terminate()
    _, errors = process.communicate(timeout=5)
    assert process.returncode == 143 and 'second signal' in errors and group(process) == []


def test_stopped_run_of_an_experiment_continues_by_the_same_command(digits: Callable[..., Config],
                                                                    tmp_path: Path) -> None:
    cfg = digits(**{'train_dataloader.dataset.indices': 160, 'train_cfg.max_epochs': 1, 'randomness.seed': 3})
    whole, run = (Run('fold 0', cfg, tmp_path / name) for name in ('whole', 'run'))
    with pytest.raises(RunStopped, match='after iteration 2 of 4; .* holds it; the same command continues$') as caught:
        run.execute(hooks=[Kill(signal.SIGTERM, 2)])
    assert '--resume' not in str(caught.value)
    assert run.execute()['metrics'] == whole.execute()['metrics']


class Stuck:
    """Data whose batches cannot be sent."""

    def __init__(self, what: object) -> None:
        self.what = what

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> object:
        return self.what


class Full:

    def __reduce__(self) -> object:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize('what, said', [(Full(), 'too many open files.*ulimit -n'), (lambda: 1, 'has ended')],
                         ids=['too many open files', 'not to be pickled'])  # yapf: disable
def test_batch_that_cannot_be_sent_ends_the_run(what: object, said: str, capfd: pytest.CaptureFixture) -> None:
    loader = DataLoader(Stuck(what), num_workers=1, timeout=60, collate_fn=list)
    prepare_workers(loader, 'train')
    with pytest.raises(MachineError, match=said):
        with machine_errors():
            next(iter(loader))
    assert 'a worker cannot send a batch' in capfd.readouterr().err


class Shared(Stuck):

    def __getitem__(self, index: int) -> int:
        return gc.get_freeze_count()


def test_worker_does_not_copy_what_it_shares() -> None:
    """A collection would write to every object: with a list of a million images, 126 MiB for each worker."""
    loader = DataLoader(Shared(None), num_workers=1, collate_fn=list)
    prepare_workers(loader, 'train')
    assert min(next(iter(loader))) > 10_000


def test_frozen_process_is_not_waited_for_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {'beats of 1': 3}
    store = SimpleNamespace(add=lambda name, times: counts.update({name: counts.get(name, 0) + times}) or counts[name])
    monkeypatch.setattr(processes, 'get_world_size', lambda: 2)
    monkeypatch.setattr(processes, '_get_default_store', lambda: store)
    monkeypatch.setattr(processes, 'PATIENCE', .3)
    with pytest.raises(RuntimeError, match='timed out waiting for process 1'):
        processes.patient_barrier()
    beating = threading.Timer(.2, store.add, ('beats of 1', 1))
    coming = threading.Timer(.4, lambda: [store.add(f'{name.rpartition(" ")[0]} 1', 1) for name in list(counts)])
    beating.start()
    coming.start()
    processes.patient_barrier()  # it shows life, and comes later than within the limit


def test_a_process_of_multiprocessing_that_has_trained_ends(digits: Callable[..., Config], tmp_path: Path) -> None:
    """Its loader is still there, and has workers that ignore the signal by which multiprocessing ends them."""
    digits(**{'train_dataloader.num_workers': 1, 'train_dataloader.persistent_workers': True}).dump(tmp_path / 'cfg.py')
    (tmp_path / 'script.py').write_text("""
import multiprocessing
from ftcls.apis import load_config, train

def run():
    global runner
    runner = train(load_config('cfg.py'))

process = multiprocessing.get_context('fork').Process(target=run)
process.start()
process.join(60)
print('exit code', process.exitcode)
process.kill()
""")
    done = subprocess.run([preloaded_python(), 'script.py'], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert 'exit code 0\n' in done.stdout, done.stdout + done.stderr
