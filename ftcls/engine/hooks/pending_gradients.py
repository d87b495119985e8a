"""Gradients that wait for their step when a checkpoint is written: accumulation does not stop at the end of an epoch."""
import torch
import torch.distributed as torch_dist
from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapper
from torch import nn

__all__ = ['are_pending', 'average_pending', 'pending_gradients', 'restore_gradients']


def are_pending(optim_wrapper: OptimWrapper) -> bool:
    """Tell whether there are gradients that no optimizer step has used yet."""
    return isinstance(optim_wrapper, OptimWrapper) and not optim_wrapper.should_update()


def average_pending(model: nn.Module) -> None:
    """Give all processes the mean of their gradients, which is what the step will make of them anyway.

    So one process can write them down for all.
    """
    size = get_world_size()
    if size == 1:
        return
    for param in model.parameters():
        if param.requires_grad and param.grad is not None:
            torch_dist.all_reduce(param.grad)
            param.grad /= size


def pending_gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the gradients by name, on the CPU."""
    return {
        name: param.grad.detach().cpu().clone()
        for name, param in model.named_parameters() if param.grad is not None
    }


def restore_gradients(model: nn.Module, gradients: dict[str, torch.Tensor]) -> None:
    """Set gradients by name; those of parameters that are not trained now are left out."""
    for name, param in model.named_parameters():
        if name in gradients and param.requires_grad:
            param.grad = gradients[name].to(param)
