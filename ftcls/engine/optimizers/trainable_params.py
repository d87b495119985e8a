"""Which of its parameters an optimizer holds while the set of trained ones changes."""
import copy

from torch.optim import Optimizer

__all__ = ['TrainableParams']


class TrainableParams:
    """All parameters that an optimizer was built with, so that frozen ones can leave it and come back.

    The groups stay, even empty ones: learning rates and weight decays follow their schedules, and a parameter that
    comes back finds its group as if it had never left. Parameters that stay keep their momentum; a state
    from before the first step, which Adagrad needs, comes back. The order depends on
    the set only, so that a state dict fits every optimizer of the same set.

    Args:
        optimizer: The optimizer, with all parameters that will ever be trained.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._groups = [(list(g['params']), list(g.get('param_names') or ())) for g in optimizer.param_groups]
        self._first_state = {param: copy.deepcopy(state) for param, state in optimizer.state.items()}

    def update(self, optimizer: Optimizer) -> None:
        """Make the optimizer hold exactly those of the parameters that require a gradient now."""
        for group, (params, names) in zip(optimizer.param_groups, self._groups, strict=True):
            group['params'][:] = [param for param in params if param.requires_grad]  # in place: others may keep it
            if names:
                group['param_names'] = [n for n, param in zip(names, params, strict=True) if param.requires_grad]
            for param in params:
                if not param.requires_grad:  # state of a parameter in no group could not be saved
                    optimizer.state.pop(param, None)
                elif param in self._first_state and param not in optimizer.state:
                    optimizer.state[param] = copy.deepcopy(self._first_state[param])
