"""Parameters that leave an optimizer and come back, with all of torch's optimizers."""
import io

import pytest
import torch
from torch import nn

from ftcls.engine.optimizers.trainable_params import TrainableParams
from ftcls.registry import OPTIMIZERS

# One that needs a closure, one for sparse gradients, one for matrices alone.
OTHERS = ('LBFGS', 'SparseAdam', 'Muon')
NAMES = [
    name for name in dir(torch.optim)
    if isinstance(getattr(torch.optim, name), type) and name not in ('Optimizer', *OTHERS)
]


def build(name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    groups = [
        dict(params=[net[0].weight, net[1].weight], param_names=['0.weight', '1.weight'], lr=0.01),
        dict(
            params=[*net[2].parameters(), net[0].bias, net[1].bias],
            param_names=['2.weight', '2.bias', '0.bias', '1.bias'],
            lr=0.02)
    ]
    return net, OPTIMIZERS.build(dict(type=name, params=groups))


def step(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
    net(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def set_trained(net: nn.Module, optimizer: torch.optim.Optimizer, members: TrainableParams, trained: str) -> None:
    for i in range(3):
        net[i].requires_grad_(str(i) in trained)
    members.update(optimizer)
    held = [id(p) for group in optimizer.param_groups for p in group['params']]
    assert sorted(held) == sorted(id(p) for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize('name', NAMES)
def test_those_that_stay_keep_their_state_and_the_state_can_be_loaded(name: str) -> None:
    net, optimizer = build(name)
    members = TrainableParams(optimizer)
    set_trained(net, optimizer, members, '2')
    assert optimizer.param_groups[0]['params'] == optimizer.param_groups[0]['param_names'] == []
    step(net, optimizer, 1)
    kept = {k: v.clone() for k, v in optimizer.state[net[2].weight].items() if isinstance(v, torch.Tensor)}
    set_trained(net, optimizer, members, '12')
    assert optimizer.param_groups[0]['param_names'] == ['1.weight']
    assert not optimizer.state.get(net[1].weight, {}).get('step', 0)  # Adagrad's is there, as it was in the beginning
    assert all(torch.equal(kept[k], optimizer.state[net[2].weight][k]) for k in kept)
    step(net, optimizer, 2)

    # a copy of the model with the same set takes the state, and goes on bitwise alike
    stored = io.BytesIO()
    torch.save(dict(net=net.state_dict(), optimizer=optimizer.state_dict()), stored)
    stored.seek(0)
    stored = torch.load(stored, weights_only=True)
    again, its = build(name)
    again.load_state_dict(stored['net'])
    its_members = TrainableParams(its)
    set_trained(again, its, its_members, '12')
    its.load_state_dict(stored['optimizer'])
    for model, opt, group in ((net, optimizer, members), (again, its, its_members)):
        set_trained(model, opt, group, '012')
        step(model, opt, 3)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters()))
    assert [g['lr'] for g in its.param_groups] == [0.01, 0.02]


def test_what_is_frozen_again_leaves_no_state() -> None:
    net, optimizer = build('Adam')
    members = TrainableParams(optimizer)
    step(net, optimizer, 1)
    set_trained(net, optimizer, members, '2')
    assert set(optimizer.state) == set(net[2].parameters())
    optimizer.state_dict()
