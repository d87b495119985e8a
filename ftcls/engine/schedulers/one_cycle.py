"""The one-cycle schedule for groups that learn at rates of their own."""
from collections.abc import Sequence

from mmengine.optim.scheduler import OneCycleLR as MMEngineOneCycleLR
from mmengine.optim.scheduler.param_scheduler import OptimizerType

from ftcls.registry import PARAM_SCHEDULERS

__all__ = ['OneCycleLR']


@PARAM_SCHEDULERS.register_module()
class OneCycleLR(MMEngineOneCycleLR):
    """MMEngine's, where ``eta_max`` is the optimizer's ``lr`` at its highest: a group with an ``lr_mult`` gets that much of it.

    MMEngine gives all groups the same rate, and what ``paramwise_cfg`` says of them is lost. A list still is one rate a group.
    """

    def _format_param(self, name: str, optimizer: OptimizerType, param: float | Sequence[float]) -> Sequence[float]:
        if not isinstance(param, (list, tuple)):
            param = [param * group.get('lr_mult', 1.) for group in optimizer.param_groups]
        return super()._format_param(name, optimizer, param)
