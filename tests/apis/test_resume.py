"""Which checkpoint a run goes on from, and that other settings are not silently ignored."""
import logging
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from ftcls.apis.resume import check_same_recipe, settle_resume
from ftcls.utils import ConfigError


def recipe(folder: Path, **changes: object) -> Config:
    base = dict(
        model=dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='x.pth'))),
        work_dir=str(folder),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, weight_decay=0.0)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=3)],
        train_cfg=dict(by_epoch=True, max_epochs=3))
    return Config({**base, **changes})


def leave_checkpoint(folder: Path, noted: str | None = None) -> None:
    """Write what a run leaves: a checkpoint with its config, and the note that names it."""
    folder.mkdir(exist_ok=True)
    weights = dict(w=torch.zeros(1))
    torch.save(dict(meta=dict(cfg=recipe(folder).pretty_text), state_dict=weights), folder / 'epoch_3.pth')
    (folder / 'last_checkpoint').write_text(noted or str(folder / 'epoch_3.pth'))


def test_latest_checkpoint_of_a_moved_folder(tmp_path):
    leave_checkpoint(tmp_path / 'new', noted='/gone/epoch_3.pth')
    cfg = recipe(tmp_path / 'new')
    settle_resume(cfg, True)
    assert cfg.resume and cfg.load_from == str(tmp_path / 'new' / 'epoch_3.pth')
    assert cfg.model.backbone.init_cfg is None  # nothing is fetched that the checkpoint overwrites


def test_the_same_recipe_may_run_longer(tmp_path):
    leave_checkpoint(tmp_path)
    cfg = recipe(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=9))
    cfg.optim_wrapper.accumulative_counts = 4  # as another number of processes brings it
    settle_resume(cfg, True)
    check_same_recipe(cfg)


def test_other_rates_and_schedules_are_refused(tmp_path):
    leave_checkpoint(tmp_path)
    cfg = recipe(
        tmp_path,
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.5, weight_decay=0.0)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=20)])
    settle_resume(cfg, str(tmp_path / 'epoch_3.pth'))
    with pytest.raises(ConfigError) as caught:
        check_same_recipe(cfg)
    message = str(caught.value)
    assert 'optim_wrapper.optimizer.lr: 0.1 in the checkpoint, 0.5 in the config' in message
    assert 'param_scheduler.0.T_max: 3 in the checkpoint, 20 in the config' in message
    assert 'weight_decay' not in message
    assert 'load_from' in message


def test_nothing_to_resume_from_is_a_warning(tmp_path, caplog):
    cfg = recipe(tmp_path / 'run')
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    settle_resume(cfg, True)
    (tmp_path / 'run').mkdir()
    torch.save({}, tmp_path / 'run' / 'epoch_2.pth')
    settle_resume(cfg, True)
    logger.removeHandler(caplog.handler)
    assert not cfg.resume and [r.levelno for r in caplog.records] == [logging.WARNING] * 2
    first, second = (r.getMessage() for r in caplog.records)
    assert 'STARTS FROM THE BEGINNING' in first and str(tmp_path / 'run') in first and '--work-dir' in first
    assert 'epoch_2.pth' in second and '--resume PATH' in second
