"""Which checkpoint a run goes on from, and that other settings are not silently ignored."""
import logging
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from ftcls.apis.training.resume import check_same_recipe, find_resumed
from ftcls.config.resolve import Facts, TrainOptions, resolve
from ftcls.utils import CheckpointError, ConfigError, MissingFileError
from ftcls.utils.checkpoint.loading import read_checkpoint


def recipe(folder: Path, **changes: object) -> Config:
    base = dict(
        model=dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='x.pth'))),
        work_dir=str(folder),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, weight_decay=0.0)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=3)],
        train_cfg=dict(by_epoch=True, max_epochs=3))
    return Config({**base, **changes})


def resume(cfg: Config, path: bool | str = True) -> Config:
    """Return the resolved config of a resumed run, once it is known to be of the same recipe."""
    options = TrainOptions(resume=path)
    checkpoint = find_resumed(cfg, options)
    resolved = resolve(cfg, options, Facts(checkpoint=checkpoint)).cfg
    if checkpoint:
        check_same_recipe(resolved, checkpoint, read_checkpoint(checkpoint)['meta'])
    return resolved


def leave_checkpoint(folder: Path, noted: str | None = None) -> None:
    """Write what a run leaves: a checkpoint with its config, and the note that names it."""
    folder.mkdir(exist_ok=True)
    weights = dict(w=torch.zeros(1))
    torch.save(dict(meta=dict(cfg=recipe(folder).pretty_text), state_dict=weights), folder / 'epoch_3.pth')
    (folder / 'last_checkpoint').write_text(noted or str(folder / 'epoch_3.pth'))


def test_latest_checkpoint_of_a_moved_folder(tmp_path):
    leave_checkpoint(tmp_path / 'new', noted='/gone/epoch_3.pth')
    cfg = resume(recipe(tmp_path / 'new'))
    assert cfg.resume and cfg.load_from == str(tmp_path / 'new' / 'epoch_3.pth')
    assert cfg.model.backbone.init_cfg is None  # nothing is fetched that the checkpoint overwrites


def test_the_same_recipe_may_run_longer(tmp_path):
    leave_checkpoint(tmp_path)
    cfg = recipe(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=9))
    cfg.optim_wrapper.accumulative_counts = 4  # as another number of processes brings it
    assert resume(cfg).resume


def test_other_rates_and_schedules_are_refused(tmp_path):
    leave_checkpoint(tmp_path)
    cfg = recipe(
        tmp_path,
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.5, weight_decay=0.0)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=20)])
    with pytest.raises(ConfigError) as caught:
        resume(cfg, str(tmp_path / 'epoch_3.pth'))
    message = str(caught.value)
    assert 'optim_wrapper.optimizer.lr: 0.1 in the checkpoint, 0.5 in the config' in message
    assert 'param_scheduler.0.T_max: 3 in the checkpoint, 20 in the config' in message
    assert 'weight_decay' not in message
    assert 'load_from' in message


def test_nothing_to_resume_from_is_a_warning(tmp_path, caplog):
    cfg = recipe(tmp_path / 'run')
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    assert not resume(cfg).resume
    (tmp_path / 'run').mkdir()
    torch.save({}, tmp_path / 'run' / 'epoch_2.pth')
    assert not resume(cfg).resume
    logger.removeHandler(caplog.handler)
    assert [r.levelno for r in caplog.records] == [logging.WARNING] * 2
    first, second = (r.getMessage() for r in caplog.records)
    assert 'STARTS FROM THE BEGINNING' in first and str(tmp_path / 'run') in first and '--work-dir' in first
    assert 'epoch_2.pth' in second and '--resume PATH' in second


def leave(folder: Path, **changes: object) -> Path:
    torch.save(
        dict(meta=dict(cfg=recipe(folder, **changes).pretty_text), state_dict=dict(w=torch.zeros(1))),
        folder / 'epoch_1.pth')
    return folder / 'epoch_1.pth'


@pytest.mark.parametrize(('old', 'new', 'said'), [
    (dict(type='GradualUnfreezingHook'), dict(type='GradualUnfreezingHook', every=1, start=None), None),
    (None, dict(type='GradualUnfreezingHook'), None),
    (dict(type='GradualUnfreezingHook'), None, "custom_hooks: 'GradualUnfreezingHook' in the checkpoint, 'none'"),
    (dict(type='GradualUnfreezingHook'), dict(type='GradualUnfreezingHook',
                                              every=2), 'custom_hooks.GradualUnfreezingHook.every: 1 in'),
    (dict(type='LinearProbeFineTuneHook'), dict(type='LinearProbeFineTuneHook',
                                                probe=3), 'probe: 0.5 in the che.*, 3 '),
    (dict(type='GradualUnfreezingHook'), dict(type='LinearProbeFineTuneHook'),
     "custom_hooks: 'GradualUnfreezingHook' in the checkpoint, 'LinearProbe"),
])
def test_another_unfreezing_is_refused(tmp_path: Path, old: dict | None, new: dict | None, said: str | None) -> None:
    other = [dict(type='EMAHook')]
    path = leave(tmp_path, custom_hooks=other + ([old] if old else []))
    cfg = recipe(tmp_path, custom_hooks=other + ([new] if new else []), train_cfg=dict(by_epoch=True, max_epochs=9))
    if said is None:
        assert resume(cfg, str(path)).resume
        return
    with pytest.raises(ConfigError, match=said):
        resume(cfg, str(path))


def test_other_freezing_l2sp_and_ema_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:

    def warnings() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]

    path = leave(tmp_path, model=dict(freeze='stem', backbone=dict()), custom_hooks=[dict(type='L2SPHook', alpha=0.01)])
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    same = recipe(
        tmp_path,
        model=dict(freeze=['stem'], norm_policy='train', backbone=dict(frozen_stages=-1)),
        custom_hooks=[dict(type='L2SPHook', beta=0.01)])
    resume(same, str(path))
    assert not warnings()
    cfg = recipe(
        tmp_path,
        model=dict(norm_policy='eval', backbone=dict(frozen_stages=2)),
        custom_hooks=[dict(type='L2SPHook', alpha=0.5), dict(type='EMAHook')])
    resume(cfg, str(path))
    logger.removeHandler(caplog.handler)
    assert [text.splitlines()[1:] for text in warnings()] == [[
        '  custom_hooks.L2SPHook.alpha: 0.01 in the checkpoint, 0.5 in the config',
        "  custom_hooks: 'none' in the checkpoint, 'EMAHook' in the config",
        "  model.freeze: ['stem'] in the checkpoint, [] in the config",
        "  model.norm_policy: 'train' in the checkpoint, 'eval' in the config",
        '  model.backbone.frozen_stages: -1 in the checkpoint, 2 in the config',
    ]]


@pytest.mark.parametrize('text', ['(((', 5, '-' * 200_000, 'a\0b', 'import os', None])
def test_a_config_that_cannot_be_read_is_said_not_to_be_compared(tmp_path, log_records, text):
    check_same_recipe(recipe(tmp_path), 'epoch_1.pth', dict(cfg=text))
    assert 'epoch_1.pth: the config in it cannot be read, and is not compared' in log_records[-1][1]


def test_a_checkpoint_of_another_tool_is_not_warned_of(tmp_path, log_records):
    check_same_recipe(recipe(tmp_path), 'epoch_1.pth', {})
    assert not log_records


def leave_run(folder: Path) -> None:
    """Write three checkpoints; by name, epoch_10 is before epoch_9."""
    folder.mkdir()
    for epoch in (8, 9, 10):
        meta = dict(cfg=recipe(folder).pretty_text, epoch=epoch, iter=5 * epoch)
        torch.save(dict(meta=meta, state_dict=dict(w=torch.zeros(9))), folder / f'epoch_{epoch}.pth')
    (folder / 'best_top1_epoch_11.pth').write_bytes((folder / 'epoch_10.pth').read_bytes())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b'\0' * 36) + 5] ^= 1  # within the weights
    path.write_bytes(content)


@pytest.mark.parametrize(('noted', 'harm', 'chosen', 'said'), [
    (None, None, 10, 'it is missing or empty'),
    ('', None, 10, 'it is missing or empty'),
    ('epoch_12.pth', None, 10, 'epoch_12.pth)'),
    ('epoch_10.pth', cut, 9, 'epoch_10.pth)'),
    ('epoch_10.pth', flip, 9, 'epoch_10.pth)'),
    ('epoch_9.pth', cut, 9, None),
])
def test_the_newest_whole_checkpoint_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture, noted: str | None,
                                              harm: object, chosen: int, said: str | None) -> None:
    folder = tmp_path / 'run'
    leave_run(folder)
    if harm is not None:
        harm(folder / 'epoch_10.pth')
    if noted is not None:
        (folder / 'last_checkpoint').write_text(noted and str(folder / noted))
    MMLogger.get_current_instance().addHandler(caplog.handler)
    assert resume(recipe(folder)).load_from == str(folder / f'epoch_{chosen}.pth')
    MMLogger.get_current_instance().removeHandler(caplog.handler)
    texts = [record.getMessage() for record in caplog.records if '--resume' in record.getMessage()]
    assert len(texts) == (said is not None)
    assert said is None or (said in texts[0] and f'epoch_{chosen}.pth' in texts[0])


def test_a_damaged_checkpoint_names_a_whole_one(tmp_path: Path) -> None:
    leave_run(tmp_path / 'run')
    for epoch in (10, 9, 8):
        cut(tmp_path / 'run' / f'epoch_{epoch}.pth')
        if epoch > 8:
            with pytest.raises(CheckpointError, match=f'epoch_{epoch}.pth.*damaged.*--resume .*epoch_{epoch - 1}.pth'):
                resume(recipe(tmp_path / 'run'), str(tmp_path / 'run' / f'epoch_{epoch}.pth'))
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'run' / 'epoch_8.pth'))
    with pytest.raises(MissingFileError, match=r'epoch_8.pth\); no whole checkpoint.*without --resume'):
        resume(recipe(tmp_path / 'run'))
