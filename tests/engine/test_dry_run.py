"""The dry run finds what does not hold, and passes what does."""
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ftcls.engine.hooks import DryRunFinished, DryRunHook


class Net(nn.Module):
    """A frozen layer with BatchNorm in evaluation mode, and a trained one."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.norm = nn.BatchNorm1d(3).requires_grad_(False).eval()
        self.head = nn.Linear(3, 2)
        self.spare = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.frozen(x)))


def dry_run(spoil=lambda net: None, use_spare=True, lr=0.1):
    torch.manual_seed(0)
    net = Net()
    runner = SimpleNamespace(model=net, optim_wrapper=SimpleNamespace(_accumulative_counts=8))
    hook = DryRunHook(most_steps=2)
    hook.before_train(runner)
    assert runner.optim_wrapper._accumulative_counts == 1  # one batch is enough for the check
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=lr)
    x = torch.randn(5, 3)
    with pytest.raises(DryRunFinished) as caught:
        for _ in range(2):
            loss = net(x).square().mean() + (net.spare(x).square().mean() if use_spare else 0)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            spoil(net)
            hook.after_train_iter(runner, 0)
    return caught.value


def test_a_run_as_its_table_says_passes():
    done = dry_run()
    assert not done.faults
    assert '4 of 4 trained tensors changed, 0 of 4 frozen ones, 0 of 3 fixed BatchNorm statistics' in done.text


def test_a_frozen_weight_that_moves_is_found():
    assert dry_run(lambda net: net.frozen.weight.data.add_(1)).faults == ['frozen.weight: frozen, and changed']


def test_a_fixed_statistic_that_moves_is_found():
    done = dry_run(lambda net: net.norm.running_mean.add_(1))
    assert done.faults == ['norm.running_mean: a fixed BatchNorm statistic, and it moved']


def test_a_trained_weight_without_gradient_is_found():
    assert dry_run(use_spare=False).faults == [
        'spare.bias: to be trained, and no gradient reaches it',
        'spare.weight: to be trained, and no gradient reaches it'
    ]


def test_a_rate_of_zero_is_found():
    assert dry_run(lr=0.).faults == ['no trained tensor changed: is the learning rate 0?']


def test_weights_that_are_no_numbers_are_found():
    fault, = dry_run(lambda net: net.head.weight.data.fill_(float('nan'))).faults
    assert fault.startswith('1 tensors have NaN or infinity after the step, for example head.weight')
