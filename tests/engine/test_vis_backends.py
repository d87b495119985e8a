"""Loggers of others by one line: names of backends, and what TensorBoard then has."""
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config

from ftcls.apis import TrainOptions, load_config, train
from ftcls.config.validation import validate_config
from ftcls.utils import ConfigError

LOCAL, TENSORBOARD = dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')


@pytest.mark.parametrize('text, backends', [
    ("visualizer.vis_backends=['TensorboardVisBackend']", [LOCAL, TENSORBOARD]),
    ('visualizer.vis_backends=TensorboardVisBackend', [LOCAL, TENSORBOARD]),
    ('visualizer.vis_backends=[TensorboardVisBackend,LocalVisBackend]', [TENSORBOARD, LOCAL]),
    ("visualizer=dict(type='Visualizer',vis_backends=['TensorboardVisBackend'])", [LOCAL, TENSORBOARD]),
    ("visualizer.vis_backends=[dict(type='TensorboardVisBackend')]", [TENSORBOARD]),
    ("visualizer.vis_backends=[dict(type='LocalVisBackend')]", None),
])  # yapf: disable
def test_backends_by_their_names(digits: Callable[..., Config], text: str, backends: list[dict] | None) -> None:
    before = digits()
    cfg = load_config(before, [text])
    validate_config(cfg)
    assert load_config(cfg).to_dict() == cfg.to_dict()
    if backends is None:
        assert cfg.default_hooks == before.default_hooks and 'log_processor' not in cfg
        return
    assert [dict(one) for one in cfg.visualizer.vis_backends] == backends
    assert cfg.visualizer.type in ('UniversalVisualizer', 'Visualizer') and cfg.log_processor.log_with_hierarchy
    assert cfg.default_hooks.logger == {**before.default_hooks.logger, 'log_metric_by_epoch': False}


def test_a_config_that_is_given_is_not_changed(digits: Callable[..., Config]) -> None:
    cfg = digits()
    cfg.visualizer = dict(vis_backends=['TensorboardVisBackend'])
    before = cfg.to_dict()
    assert load_config(cfg).visualizer.vis_backends[1] == TENSORBOARD and cfg.to_dict() == before
    cfg.visualizer.vis_backends = ['TensorBoardVisBackend']
    with pytest.raises(ConfigError, match="vis_backends.1.type: .*did you mean 'TensorboardVisBackend'"):
        validate_config(cfg)


def test_what_tensorboard_has(digits: Callable[..., Config], tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    cfg = digits(**{'visualizer.vis_backends': ['TensorboardVisBackend']})
    train(cfg, TrainOptions(work_dir=str(tmp_path), seed=0))
    folder, = tmp_path.glob('*/vis_data')
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    records = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    for kind, name in (('train', 'loss'), ('train', 'lr'), ('val', 'loss'), ('val', 'accuracy/top1')):
        recorded = {one['step']: one[name] for one in records if one['kind'] == kind}
        sent = {event.step: event.value for event in events.Scalars(f'{kind}/{name}')}
        assert sent == pytest.approx(recorded, rel=1e-5), (kind, name)
    best, = events.Scalars('best_score')
    assert best.value == pytest.approx(max(one['accuracy/top1'] for one in records if one['kind'] == 'val'), rel=1e-5)
    text = events.Tensors('config/text_summary')[0].tensor_proto.string_val[0].decode()
    assert 'param_scheduler' in text and (folder / 'scalars.json').is_file()


def test_a_missing_package_is_named_before_the_first_step(digits: Callable[..., Config], tmp_path: Path) -> None:
    cfg = digits(**{'visualizer.vis_backends': ['NeptuneVisBackend']})
    with pytest.raises(ConfigError, match='pip install') as caught:
        train(cfg, TrainOptions(work_dir=str(tmp_path), seed=0))
    assert len(str(caught.value)) < 200 and 'neptune' in str(caught.value)
