"""Which parameters do not learn, and which setting freezes them: one record for a model and its backbone."""
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from mmengine.model import BaseModel
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ftcls.utils import ConfigError, did_you_mean, match_names
from ftcls.utils.names import enumerate_names, name_parts, plural
from ftcls.utils.tree import as_list, grouped

__all__ = ['FreezableModel', 'FreezeRecord', 'NormPolicy', 'frozen_by', 'half_frozen', 'set_bn_eval']

NormPolicy = Literal['train', 'eval', 'frozen']
_PARTS = ('backbone', 'neck', 'decoder', 'head')
_OTHER = 'another setting of the model'  # that freezes without this file: norm_cfg=dict(requires_grad=False)


class FreezeRecord:
    """The frozen parameters, each with the settings that freeze it.

    A parameter learns again when the last of these settings releases it. What did not learn before it was frozen here
    (``norm_cfg`` with ``requires_grad=False``) never does. Modules whose parameters are all frozen stay in eval mode,
    see :meth:`eval_frozen`. The record is copied and pickled with its model.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> record = FreezeRecord.of(layer)
        >>> record.freeze([layer.weight], 'model.freeze')
        >>> record.reasons(layer.weight), layer.weight.requires_grad, record.reasons(layer.bias)
        (('model.freeze',), False, ())
        >>> record.release([layer.weight], 'model.freeze')
        >>> layer.weight.requires_grad
        True
    """

    def __init__(self) -> None:
        self._reasons: dict[nn.Parameter, tuple[str, ...]] = {}

    @classmethod
    def of(cls, module: nn.Module) -> 'FreezeRecord':
        """Return the record of a model (without the wrapper of distributed training), which is also its backbone's."""
        record = vars(module).get('_freeze_record')
        if record is None:
            backbone = getattr(module, 'backbone', None)
            record = cls() if backbone is None else cls.of(backbone)
            module._freeze_record = record
        return record

    def freeze(self, params: Iterable[nn.Parameter], reason: str) -> None:
        """Freeze parameters; call ``train()`` of the model afterwards.

        ``reason`` is the config key, ``'model.freeze'``; or the name of a hook, which releases them later.
        """
        for param in params:
            if reason not in self.reasons(param):
                self._reasons[param] = (*self.reasons(param), reason)
            param.requires_grad_(False)

    def release(self, params: Iterable[nn.Parameter], reason: str) -> None:
        """Take back what :meth:`freeze` did for this reason. Call ``train()`` of the model afterwards."""
        for param in params:
            reasons = self._reasons.pop(param, ())
            left = tuple(other for other in reasons if other != reason)
            if left:
                self._reasons[param] = left
            elif reasons:
                param.requires_grad_(True)

    def reasons(self, param: nn.Parameter) -> tuple[str, ...]:
        """Return the settings that freeze a parameter, ``('model.freeze', )``; empty for one that learns."""
        if param in self._reasons:
            return self._reasons[param]
        return () if param.requires_grad else (_OTHER, )

    def eval_frozen(self, module: nn.Module) -> None:
        """Put each module in eval mode whose parameters are all frozen, at least one of them by this record."""
        if not self._reasons:
            return
        for part in module.modules():
            params = list(part.parameters())
            ours = any(self._reasons.get(param, (_OTHER, )) != (_OTHER, ) for param in params)
            if ours and not any(param.requires_grad for param in params):
                part.eval()


def frozen_by(model: nn.Module, names: Iterable[str]) -> str:
    """Return the settings of the model that freeze these parameters: ``'model.freeze and model.norm_policy'``.

    A hook that freezes for a part of the run, under its own name, is left out.
    """
    record = FreezeRecord.of(model)
    reasons = set().union(*(record.reasons(model.get_parameter(name)) for name in names))
    return ' and '.join(sorted(reason for reason in reasons if reason == _OTHER or reason.startswith('model.')))


def set_bn_eval(module: nn.Module) -> None:
    """Put the BatchNorm layers inside a module in eval mode, so that their running statistics do not move."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.eval()


def half_frozen(model: nn.Module) -> list[str]:
    """Return one sentence each on weights that are frozen while their bias is trained, and the other way round."""
    kinds = 'frozen weight with trained bias', 'frozen bias with trained weight'
    found = []
    for prefix, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        for name, weight in own.items():
            bias = own.get(name.removesuffix('weight') + 'bias')
            if name.endswith('weight') and bias is not None and bias.requires_grad != weight.requires_grad:
                found.append((kinds[weight.requires_grad], prefix or name))
    layers = sorted(grouped(found).items(), reverse=True)
    return [f'{kind} in {plural(len(names), "layer")}: {enumerate_names(names, most=4)}' for kind, names in layers]


class FreezableModel(BaseModel):
    """Base of models with the parts ``backbone``, ``neck`` or ``decoder``, and ``head``, which can be frozen by name.

    A subclass takes the arguments ``freeze`` and ``norm_policy`` and passes them to :meth:`freeze` when its parts are
    built, before DistributedDataParallel is wrapped around the model, which waits for the gradient of what is trained.

    Modules whose parameters are all frozen are in eval mode, also after ``train()``; dropout beside them is not.
    """

    _bn_eval_parts: tuple[str, ...] = ()  # The parts whose BatchNorm layers stay in eval mode.

    def freeze(self,
               patterns: str | Sequence[str] | None = None,
               norm_policy: NormPolicy | Mapping[str, NormPolicy] = 'train') -> None:
        """Freeze parameters by name, and the BatchNorm layers, for the whole run.

        Args:
            patterns: Parts of names as in ``named_parameters()`` (``'head.fc.bias'``), or regular expressions found in
                them: ``'backbone.layer[12]'``; ``'^(?!head)'``, everything but the head. One that begins with ``!``
                takes back what is frozen before it: ``['backbone', '!bias$']`` trains the head and all biases (BitFit).
            norm_policy: ``'train'``: BatchNorm layers do as the part they are in; ``'eval'``: their statistics are
                fixed, their weight and bias are trained; ``'frozen'``: both are fixed. One value is for the backbone,
                ``dict(backbone='eval', head='frozen')`` for the parts it names.

        Raises:
            ConfigError: If a pattern matches nothing, a part is unknown, or has no BatchNorm layer.
        """
        params = dict(self.named_parameters(remove_duplicate=False))
        record = FreezeRecord.of(self)
        for pattern in as_list(patterns or []):
            known = list(params)
            change = record.freeze
            if pattern.startswith('!'):
                known = [name for name in params if 'model.freeze' in record.reasons(params[name])]
                change = record.release
            try:
                hits = match_names(pattern.removeprefix('!'), known)
            except ValueError as err:
                raise ConfigError(f'model.freeze: {err}') from None
            if not hits:
                near = did_you_mean(pattern, name_parts(known))
                raise ConfigError(f'model.freeze: {pattern!r} matches no parameter{near}')
            change([params[name] for name in hits], 'model.freeze')
        if isinstance(norm_policy, str):
            norm_policy = dict(backbone=norm_policy)
        for part, policy in norm_policy.items():
            self._apply_norm_policy(part, policy)
        self.train(self.training)

    def _apply_norm_policy(self, part: str, policy: str) -> None:
        if part not in _PARTS:
            raise ConfigError(f'model.norm_policy: there is no part {part!r}{did_you_mean(str(part), _PARTS)}')
        if policy == 'train':
            return
        module = getattr(self, part, None) or nn.Identity()
        norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
        if not norms:
            raise ConfigError(f'model.norm_policy={policy!r}: the {part} has no BatchNorm layer; remove it')
        self._bn_eval_parts = (*self._bn_eval_parts, part)
        if policy == 'frozen':
            for layer in norms:
                FreezeRecord.of(self).freeze(layer.parameters(recurse=False), 'model.norm_policy')

    def train(self, mode: bool = True) -> 'FreezableModel':
        """Switch to training mode, except what is frozen; or, with ``mode=False``, to eval mode."""
        super().train(mode)
        if mode:
            for part in self._bn_eval_parts:
                set_bn_eval(getattr(self, part))
            FreezeRecord.of(self).eval_frozen(self)
        return self
