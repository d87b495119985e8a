"""What the optimizer settings of a config do to tensors: any optimizer of torch, accumulation, clipping, mixed precision."""
import copy
from collections.abc import Iterator

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

import ftcls.models  # noqa: F401
from ftcls.apis.training.sanity_checks import config_errors
from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError

LR = 0.1
# What a plain step cannot drive: LBFGS wants a closure, SparseAdam sparse gradients, Muon matrices only.
OTHERS = {'Optimizer', 'LBFGS', 'SparseAdam', 'Muon'}
OPTIMIZERS = sorted(n for n, c in vars(torch.optim).items() if isinstance(c, type) and n not in OTHERS)


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    init_default_scope('ftcls')
    yield


class Net(BaseModel):
    """A linear layer and a head without BatchNorm, so that the gradient of a batch is the mean of its parts'."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(6, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor, mode: str = 'loss') -> dict[str, torch.Tensor]:
        return dict(loss=nn.functional.cross_entropy(self.head(self.backbone(inputs).tanh()).float(), labels))


def batches(count: int = 3) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(4 * count, 6, generator=generator)
    return [dict(inputs=x, labels=(x[:, 0] > 0).long()) for x in inputs.split(4)]


def train(model: BaseModel, data: list[dict], **settings: object) -> OptimWrapper:
    """Train as MMEngine's loop does."""
    settings = dict(dict(optimizer=dict(type='SGD', lr=LR)), **settings)
    wrapper = build_optim_wrapper(model, settings)
    wrapper.initialize_count_status(model, 0, len(data))
    for batch in data:
        with wrapper.optim_context(model):
            losses = model(**batch)
        wrapper.update_params(losses['loss'])
    return wrapper


def moved(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return how far each parameter is from where a new model starts."""
    start = Net().state_dict()
    return {name: value - start[name] for name, value in model.state_dict().items()}


def gradients(batch: dict) -> dict[str, torch.Tensor]:
    model = Net()
    model(**batch)['loss'].backward()
    return {name: param.grad for name, param in model.named_parameters()}


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_every_optimizer_of_torch_by_its_name(name: str) -> None:
    """Frozen parameters stay; the others go where torch's own class takes them, bitwise."""
    model, expected = Net(), Net()
    model.backbone.weight.requires_grad_(False)
    train(model, batches(), optimizer=dict(type=name, lr=LR))
    expected.backbone.weight.requires_grad_(False)
    trained = [p for p in expected.parameters() if p.requires_grad]
    optimizer = getattr(torch.optim, name)(trained, lr=LR)
    for batch in batches():
        optimizer.zero_grad()
        expected(**batch)['loss'].backward()
        optimizer.step()
    for key, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    assert {k for k, v in moved(model).items() if not v.any()} == {'backbone.weight'}


def test_an_optimizer_that_cannot_take_the_model_is_refused() -> None:
    if not hasattr(torch.optim, 'Muon'):
        pytest.skip('this torch has no Muon')
    with pytest.raises(ConfigError, match='optim_wrapper: Muon only supports 2D parameters'):
        with config_errors('optim_wrapper'):
            train(Net(), batches(), optimizer=dict(type='Muon', lr=LR))


def test_adam_on_the_head_alone() -> None:
    """The first step of Adam is its rate times the gradient's sign; the optimizer holds nothing of the backbone."""
    head = dict(type='LinearClsHead', num_classes=2, in_channels=120)
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='LeNet5'),
            neck=dict(type='GlobalAveragePooling'),
            head=head,
            freeze=['^(?!head)']))
    before = copy.deepcopy(model.state_dict())
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='Adam', lr=1e-3)))
    data = dict(inputs=torch.randn(4, 1, 32, 32), data_samples=[DataSample().set_gt_label(i % 2) for i in range(4)])
    model.train()(**data, mode='loss')['loss'].backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    wrapper.step()
    assert set(grads) == {'head.fc.weight', 'head.fc.bias'} and len(wrapper.optimizer.state) == 2
    for name, value in model.state_dict().items():
        step = value - before[name]
        if name not in grads:
            assert not step.any(), name
        else:
            wanted = -1e-3 * grads[name] / (grads[name].abs() + 1e-8)
            torch.testing.assert_close(step, wanted, rtol=1e-3, atol=1e-7)


def test_accumulated_batches_make_the_step_of_one_large_batch() -> None:
    model, large = Net(), Net()
    data = batches(6)
    train(model, data, accumulative_counts=3)
    whole = [{k: torch.cat([b[k] for b in data[i:i + 3]]) for k in data[0]} for i in (0, 3)]
    train(large, whole)
    for name, value in large.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-7)
    partial = Net()
    wrapper = train(partial, data[:2], accumulative_counts=3)
    assert not wrapper.should_update() or all(v.any() for v in moved(partial).values())


def test_nothing_moves_until_the_last_of_the_accumulated_batches() -> None:
    model = Net()
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=LR), accumulative_counts=3))
    wrapper.initialize_count_status(model, 0, 6)
    steps = []
    for batch in batches(6):
        before = model.head.weight.detach().clone()
        wrapper.update_params(model(**batch)['loss'])
        steps.append(not torch.equal(model.head.weight, before))
    assert steps == [False, False, True] * 2


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'AmpOptimWrapper'])
def test_clipping_by_norm_sets_how_far_all_weights_go_together(wrapper: str) -> None:
    model, batch = Net(), batches(1)
    norm = torch.cat([g.flatten() for g in gradients(batch[0]).values()]).norm()
    limit = float(norm) / 3
    train(model, batch, type=wrapper, clip_grad=dict(max_norm=limit))
    step = torch.cat([v.flatten() for v in moved(model).values()]).norm()
    assert float(step) == pytest.approx(LR * limit, rel=1e-4)
    loose = Net()
    train(loose, batch, type=wrapper, clip_grad=dict(max_norm=3 * float(norm)))
    step = torch.cat([v.flatten() for v in moved(loose).values()]).norm()
    assert float(step) == pytest.approx(LR * float(norm), rel=1e-4 if wrapper == 'OptimWrapper' else 3e-2)


def test_clipping_by_value_cuts_each_gradient() -> None:
    model, batch, limit = Net(), batches(1), 0.02
    train(model, batch, clip_grad=dict(type='value', clip_value=limit))
    for name, grad in gradients(batch[0]).items():
        torch.testing.assert_close(moved(model)[name], -LR * grad.clamp(-limit, limit), rtol=1e-4, atol=1e-7)
        assert grad.abs().max() > limit


def test_mixed_precision_steps_as_float32_up_to_bfloat16() -> None:
    model, batch = Net(), batches(1)
    train(model, batch, type='AmpOptimWrapper')
    exact = gradients(batch[0])
    differs = False
    for name, step in moved(model).items():
        assert step.dtype == torch.float32
        # bfloat16 keeps 8 bits: 1 / 256 = 0.4 % a rounding
        torch.testing.assert_close(step, -LR * exact[name], rtol=0.05, atol=0.02 * LR * float(exact[name].abs().max()))
        differs |= not torch.equal(step, -LR * exact[name])
    assert differs
