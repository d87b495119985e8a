"""The one-cycle schedule for groups that learn at rates of their own."""
from collections.abc import Sequence

from mmengine.optim.scheduler import OneCycleLR as MMEngineOneCycleLR
from mmengine.optim.scheduler.param_scheduler import OptimizerType

from ftcls.registry import PARAM_SCHEDULERS

__all__ = ['OneCycleLR']


@PARAM_SCHEDULERS.register_module()
class OneCycleLR(MMEngineOneCycleLR):
    """MMEngine's, where ``eta_max`` is the optimizer's ``lr`` at its highest, and a group gets its ``lr_mult`` of it.

    MMEngine (0.10.7) gives all groups the same rate, against ``paramwise_cfg``. A list is one rate per group, as there.
    """

    def _format_param(self, name: str, optimizer: OptimizerType, param: float | Sequence[float]) -> Sequence[float]:
        if not isinstance(param, (list, tuple)):
            param = [param * group.get('lr_mult', 1.) for group in optimizer.param_groups]
        return super()._format_param(name, optimizer, param)
