"""One real training step, and a check that it changed what the preflight says is trained, and nothing else."""
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from ftcls.engine.mmengine_compat import step_after_every_batch
from ftcls.registry import HOOKS
from ftcls.utils.checkpoint.adapter_files import plain_name
from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.names import enumerate_names

__all__ = ['DryRunHook', 'DryRunFinished']


class DryRunFinished(Exception):
    """Raised to leave the training loop after the step; ``faults`` are what is wrong, ``text`` is the result."""

    def __init__(self, text: str, faults: list[str]) -> None:
        super().__init__(text)
        self.text, self.faults = text, faults


@HOOKS.register_module()
class DryRunHook(Hook):
    """Compare every tensor before and after the first optimizer step, then end the run.

    The step is made on one batch, also where the run accumulates gradients over several.

    Args:
        most_steps: Optimizer steps to wait for one that changes anything: float16 loss scaling skips the first ones.

    Raises:
        DryRunFinished: Always, after the check.
    """
    priority = 'LOWEST'

    def __init__(self, most_steps: int = 16) -> None:
        self.most_steps = most_steps
        self._before: dict[str, torch.Tensor] = {}
        self._reached: set[str] = set()
        self._iterations = 0

    def before_train(self, runner: Runner) -> None:
        """Remember all parameters and buffers, and watch which parameters a gradient reaches."""
        step_after_every_batch(runner.optim_wrapper)
        model = unwrap_model(runner.model)
        self._before = {k: v.detach().clone() for k, v in model.state_dict().items()}
        for name, param in model.named_parameters():
            if param.requires_grad:
                # the wrapper clears gradients after the step
                param.register_hook(lambda _, name=plain_name(name): self._reached.add(name))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Check after a step that changed something."""
        self._iterations += 1
        model = unwrap_model(runner.model)
        changed = {k for k, v in model.state_dict().items() if not torch.equal(v, self._before[k])}
        trained = {plain_name(n) for n, p in model.named_parameters() if p.requires_grad}
        if trained and not changed & trained and self._iterations < self.most_steps:
            return
        raise DryRunFinished(*self._verdict(model, changed, trained))

    def _verdict(self, model: torch.nn.Module, changed: set[str], trained: set[str]) -> tuple[str, list[str]]:
        frozen = {plain_name(name) for name, _ in model.named_parameters()} - trained
        norms = [(name, m) for name, m in model.named_modules() if isinstance(m, _BatchNorm) and not m.training]
        fixed = {statistic for prefix, norm in norms for statistic, _ in norm.named_buffers(prefix)}
        idle = sorted(trained - changed)
        faults = [f'{name}: frozen, and changed' for name in sorted(changed & frozen)]
        faults += [f'{name}: a fixed BatchNorm statistic, and it moved' for name in sorted(changed & fixed)]
        faults += [f'{name}: to be trained, and no gradient reaches it' for name in idle if name not in self._reached]
        broken = [name for name, value in model.state_dict().items() if name in changed and not value.isfinite().all()]
        if broken:
            faults.append(f'{len(broken)} tensors have NaN or infinity after the step, for example {broken[0]}')
        if trained and len(idle) == len(trained):
            faults.append('no trained tensor changed: is the learning rate 0?')
        counts = [f'{len(some & changed)} of {len(some)}' for some in (trained, frozen, fixed)]
        text = 'one step on one batch: {} trained tensors changed, {} frozen ones, {} fixed BatchNorm statistics'
        lines = [text.format(*counts), *(f'FAULT {fault}' for fault in faults)]
        if idle and not faults:
            names = enumerate_names(idle, most=8)
            lines.append(f'not changed, since the gradient of this step was zero or too small for float: {names}')
        return '\n'.join(lines), faults
