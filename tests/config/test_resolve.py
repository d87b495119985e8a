"""One function resolves a config; neither the caller's config nor the resolved one is written into."""
import copy
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from ftcls.apis import EpochLength, TrainOptions, find_lr, list_parameters, load_config
from ftcls.apis import test as run_test
from ftcls.apis import trace_schedule, train
from ftcls.apis.training import train as train_module
from ftcls.config import resolve as resolve_module
from ftcls.config.resolve import EvalOptions, Facts, resolve
from ftcls.utils import ConfigError

CONFIG = Path(__file__).resolve().parents[2] / 'configs' / 'tutorial' / 'lenet5_pretrain_digits.py'


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    """A config in which much is left to resolve."""
    cfg = load_config(
        CONFIG, {
            'work_dir': str(tmp_path / 'run'),
            'randomness.seed': None,
            'train_cfg.max_epochs': 1,
            'train_dataloader.batch_size': 16,
            'train_dataloader.persistent_workers': True,
            'auto_scale_lr': dict(base_batch_size=64),
            'model.head.loss': dict(type='CrossEntropyLoss', class_weight='balanced'),
            'param_scheduler': [dict(type='LinearLR', by_epoch=False, end=8, start_factor=0.1)],
        })
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.num_workers = 0
    return cfg


def test_what_is_resolved(cfg: Config) -> None:
    before = cfg.to_dict()
    counts = {str(digit): 10 + digit for digit in range(10)}
    resolved = resolve(cfg, TrainOptions(amp=True, launcher='pytorch'), Facts(2, class_counts=counts, drawn_seed=5))
    run = resolved.cfg
    assert cfg.to_dict() == before
    assert (resolved.batch.accumulation, run.optim_wrapper.accumulative_counts, run.param_scheduler[0].end) == (2, 2,
                                                                                                                16)
    assert run.optim_wrapper.type == 'AmpOptimWrapper' and run.randomness.seed == 5
    assert run.model_wrapper_cfg.type == 'MMDistributedDataParallel' and run.launcher == 'pytorch'
    assert len(run.model.head.loss.class_weight) == 10 and 'balanced' in resolved.notes[0]
    assert run.train_dataloader.persistent_workers is False
    assert [hook.type for hook in run.custom_hooks][:2] == ['SafeCheckpointHook', 'MetricsRecordHook']
    assert run.val_evaluator[-1].type == run.test_evaluator[-1].type == 'LossMetric'
    # to resolve it again changes nothing: the config in a work dir may be trained as it is
    assert resolve(run, TrainOptions(launcher='pytorch'), Facts(2)).cfg.to_dict() == run.to_dict()


def test_the_command_line_comes_before_the_config_and_the_checkpoint(cfg: Config) -> None:
    facts = Facts(checkpoint='epoch_1.pth', meta=dict(seed=3), class_counts={'0': 1}, drawn_seed=5)
    cfg.model.backbone.init_cfg = [dict(type='Pretrained', checkpoint='a.pth'), dict(type='Kaiming', layer='Conv2d')]
    run = resolve(cfg, TrainOptions(work_dir='there', validate=False), facts).cfg
    assert (run.work_dir, run.resume, run.load_from, run.randomness.seed) == ('there', True, 'epoch_1.pth', 3)
    assert run.val_dataloader is run.val_evaluator is run.val_cfg is None
    assert run.model.backbone.init_cfg == [dict(type='Kaiming', layer='Conv2d')]
    assert resolve(cfg, TrainOptions(seed=7), facts).cfg.randomness.seed == 7
    with pytest.raises(ConfigError, match='--seed -1: must be from 0'):
        resolve(cfg, TrainOptions(seed=-1), facts)


def test_a_test_takes_every_weight_from_its_checkpoint(cfg: Config) -> None:
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='a.pth')
    cfg.resume = True
    resolved = resolve(cfg, EvalOptions(checkpoint='epoch_1.pth', tta=True))
    run = resolved.cfg
    assert (run.load_from, run.resume, run.model.backbone.init_cfg, resolved.batch) == ('epoch_1.pth', False, None,
                                                                                        None)
    assert run.test_dataloader.dataset.pipeline[-1].type == 'TestTimeAug'
    assert run.custom_hooks[-1].type == 'PrepareTTAHook'
    assert 'LossMetric' not in [metric['type'] for metric in run.test_evaluator]


def test_nothing_writes_into_a_config(cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither into the caller's, nor into the resolved one, from the first check to the last step."""
    kept: list[tuple[Any, dict]] = []

    def recording(*args: Any) -> resolve_module.ResolvedConfig:
        resolved = resolve(*args)
        kept.append((resolved.cfg, copy.deepcopy(resolved.cfg.to_dict())))
        return resolved

    monkeypatch.setattr(train_module, 'resolve', recording)
    before = cfg.to_dict()
    runner = train(cfg, TrainOptions(seed=0))
    find_lr(cfg, tmp_path / 'lr.png', steps=10)
    list_parameters(cfg)
    trace_schedule(cfg, EpochLength(iters=4))
    run_test(cfg, f'{cfg.work_dir}/epoch_1.pth', tta=True)
    assert cfg.to_dict() == before
    assert len(kept) == 2 and all(resolved.to_dict() == then for resolved, then in kept)
    assert runner.cfg.to_dict() == kept[0][1]
    (written, ) = (Path(cfg.work_dir) / name for name in ('lenet5_pretrain_digits.py', ))
    assert load_config(written).to_dict() == kept[0][1]
