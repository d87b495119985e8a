"""A hook of MMClassification with nothing left to do."""
from mmengine.hooks import Hook

from ftcls.registry import HOOKS

__all__ = ['ClassNumCheckHook']


@HOOKS.register_module()
class ClassNumCheckHook(Hook):
    """Do nothing, in configs that name it: the classes of the data and of the heads are compared before every run.

    Example:
        >>> ClassNumCheckHook().priority
        'NORMAL'
    """
