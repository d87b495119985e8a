"""Mixed precision on the CPU: bfloat16, and the loss scaling that float16 has on a GPU."""
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from ftcls.engine.optimizers import AmpOptimWrapper, convert_to_amp
from ftcls.registry import OPTIM_WRAPPERS
from ftcls.utils import ConfigError


def make(model: nn.Module, **kwargs: Any) -> AmpOptimWrapper:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return OPTIM_WRAPPERS.build(dict(type='AmpOptimWrapper', optimizer=optimizer, **kwargs))


def one_weight() -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    return model


def test_bfloat16_is_chosen_on_the_cpu_and_said(log_lines: list[str]) -> None:
    wrapper = make(one_weight())
    wrapper.initialize_count_status(one_weight(), 0, 1)
    assert wrapper.cast_dtype is torch.bfloat16
    assert not wrapper.loss_scaler.is_enabled()
    assert log_lines[-1] == 'mixed precision: bfloat16 on cpu, no loss scaling'


@pytest.mark.parametrize('dtype', ['bfloat16', torch.bfloat16, None])
def test_the_forward_pass_is_cast_and_the_weights_are_not(dtype: Any) -> None:
    model = one_weight()
    wrapper = make(model, dtype=dtype)
    with wrapper.optim_context(model):
        out = model(torch.ones(1, 1))
    assert out.dtype is torch.bfloat16
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype is torch.float32
    assert model.weight.item() == pytest.approx(0.9)
    assert not torch.is_autocast_enabled('cpu')


@pytest.mark.parametrize(('kwargs', 'message'), [
    (dict(dtype='float16'), "'float16': the CPU trains in bfloat16"),
    (dict(dtype=torch.float16), "'float16': the CPU trains in bfloat16"),
    (dict(dtype='float32'), "dtype='float32': must be 'bfloat16' or 'float16'.*OptimWrapper"),
    (dict(dtype='bfloat61'), "'bfloat61'.* did you mean 'bfloat16'"),
    (dict(loss_scale='dynamical'), "loss_scale='dynamical': must be one of 'dynamic'"),
    (dict(loss_scale=0), 'loss_scale=0: must be above 0'),
    (dict(loss_scale=dict(init_scal=2.)), "unknown key 'init_scal'; did you mean 'init_scale'"),
])
def test_what_cannot_be_done_is_refused(kwargs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(one_weight(), **kwargs)


@pytest.mark.parametrize('native', [True, False])
def test_the_choice_on_a_gpu(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftcls.engine.optimizers import amp
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation=True: native)
    assert amp._choose_dtype(None, 'cuda') is (torch.bfloat16 if native else torch.float16)
    assert amp._choose_dtype('float16', 'cuda') is torch.float16
    if not native:
        with pytest.raises(ConfigError, match='this GPU does not compute it'):
            amp._choose_dtype('bfloat16', 'cuda')


@pytest.mark.parametrize('loss_scale', [8., dict(init_scale=8.)])
def test_scaling_changes_no_update_and_clipping_sees_unscaled_gradients(loss_scale: Any) -> None:
    model = one_weight()
    wrapper = make(model, loss_scale=loss_scale, clip_grad=dict(max_norm=0.5))
    wrapper.update_params(model(torch.full((1, 1), 4.)).sum())
    # The gradient is 4, clipped to 0.5: 1 - 0.1 x 0.5.
    assert model.weight.item() == pytest.approx(0.95, rel=1e-4)
    assert wrapper.skipped_steps == 0


@pytest.mark.parametrize('fused', [False, True])
def test_a_step_with_an_infinite_gradient_is_skipped_and_counted(fused: bool, log_lines: list[str]) -> None:
    model = one_weight()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    wrapper = AmpOptimWrapper(optimizer=optimizer, loss_scale=dict(init_scale=8.))
    wrapper.update_params(model(torch.full((1, 1), float('inf'))).sum())
    assert model.weight.item() == 1
    assert (wrapper.skipped_steps, wrapper.loss_scaler.get_scale()) == (1, 4)
    assert 'update skipped: a gradient is not finite at loss scale 8 (1 skipped so far)' in log_lines
    wrapper.update_params(model(torch.ones(1, 1)).sum())
    assert model.weight.item() < 1
    assert wrapper.skipped_steps == 1


def test_a_fixed_scale_stays() -> None:
    model = one_weight()
    wrapper = make(model, loss_scale=8)
    wrapper.update_params(model(torch.full((1, 1), float('nan'))).sum())
    assert (wrapper.skipped_steps, wrapper.loss_scaler.get_scale()) == (1, 8)


def test_accumulated_gradients_give_the_step_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    points = torch.randn(6, 3)
    model = nn.Linear(3, 1)
    twin = copy.deepcopy(model)
    wrapper = make(model, loss_scale=dict(init_scale=16.), accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 3)
    for part in points.chunk(3):
        wrapper.update_params(model(part).square().mean())
    plain = OptimWrapper(torch.optim.SGD(twin.parameters(), lr=0.1))
    plain.update_params(twin(points).square().mean())
    assert torch.allclose(model.weight, twin.weight, atol=1e-6)


def test_the_scalers_state_is_saved_and_loaded() -> None:
    model = one_weight()
    wrapper = make(model, loss_scale=dict(init_scale=8.))
    wrapper.update_params(model(torch.full((1, 1), float('inf'))).sum())
    state = wrapper.state_dict()
    before = copy.deepcopy(state)
    other = make(one_weight(), loss_scale=dict(init_scale=8.))
    other.load_state_dict(state)
    assert (other.skipped_steps, other.loss_scaler.get_scale()) == (1, 4)
    assert state == before
    # From a run in bfloat16, and into one.
    other.load_state_dict(make(one_weight()).state_dict())
    assert other.loss_scaler.get_scale() == 4
    make(one_weight()).load_state_dict(state)
    # From a run in full precision, and into one.
    other.load_state_dict(OptimWrapper(torch.optim.SGD(one_weight().parameters(), lr=0.1)).state_dict())
    OptimWrapper(torch.optim.SGD(one_weight().parameters(), lr=0.1)).load_state_dict(state)


def test_it_is_found_under_mmengines_name_and_trains(make_runner: Callable[..., Runner]) -> None:
    init_default_scope('ftcls')
    assert OPTIM_WRAPPERS.get('AmpOptimWrapper') is AmpOptimWrapper
    runner = make_runner(optim_wrapper=convert_to_amp(dict(optimizer=dict(type='SGD', lr=0.1))))
    before = runner.model.head.weight.detach().clone()
    runner.train()
    assert runner.optim_wrapper.cast_dtype is torch.bfloat16
    assert not torch.equal(runner.model.head.weight, before)


def test_convert_to_amp() -> None:
    cfg = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1), clip_grad=dict(max_norm=1.))
    before = copy.deepcopy(cfg)
    assert convert_to_amp(cfg) == {**cfg, 'type': 'AmpOptimWrapper', 'loss_scale': 'dynamic'}
    assert convert_to_amp(dict(type=OptimWrapper))['type'] == 'AmpOptimWrapper'
    assert convert_to_amp(dict(type='AmpOptimWrapper', loss_scale=8., dtype='float16')) == dict(
        type='AmpOptimWrapper', loss_scale=8., dtype='float16')
    assert cfg == before
    with pytest.raises(ConfigError, match="--amp: optim_wrapper.type='ApexOptimWrapper' has no mixed precision"):
        convert_to_amp(dict(type='ApexOptimWrapper'))


def test_the_state_is_plain_enough_for_safe_loading(tmp_path: Path) -> None:
    init_default_scope('ftcls')
    cfg = Config(
        dict(
            type='AmpOptimWrapper',
            loss_scale=dict(init_scale=8.),
            optimizer=dict(type='AdamW', lr=0.1, betas=(0.9, 0.99)),
            paramwise_cfg=dict(custom_keys=dict(bias=dict(lr_mult=2., eps=1e-6)))))
    model = nn.Linear(2, 1)
    wrapper = build_optim_wrapper(model, cfg)
    wrapper.update_params(model(torch.ones(1, 2)).sum())
    torch.save(wrapper.state_dict(), tmp_path / 'state.pth')
    state = torch.load(tmp_path / 'state.pth', weights_only=True)
    assert [group['name'] for group in state['param_groups']] == ['default', 'bias']
    build_optim_wrapper(model, cfg).load_state_dict(state)
