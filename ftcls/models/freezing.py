"""Which parameters learn: freezing by name, BatchNorm policies, and rest for what is frozen."""
from collections.abc import Iterable, Mapping, Sequence

from mmengine.model import BaseModel
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ftcls.utils import ConfigError, did_you_mean, match_names
from ftcls.utils.names import name_parts

__all__ = ['NORM_POLICIES', 'FreezableModel', 'frozen_by', 'half_frozen', 'set_bn_eval', 'set_trainable']

NORM_POLICIES = ('train', 'eval', 'frozen')
_PARTS = ('backbone', 'neck', 'decoder', 'head')


def set_trainable(model: nn.Module, names: Iterable[str], on: bool) -> list[str]:
    """Freeze parameters, or thaw those that an earlier call froze.

    What does not learn for another reason (``freeze``, ``frozen_stages``, ``norm_cfg`` with ``requires_grad=False``)
    stays as it is. Modules all of whose parameters are frozen are put to rest, see :class:`FreezableModel`.

    Args:
        model: The model, without the wrapper of distributed training.
        names: Names as in ``model.named_parameters()``.
        on: True to thaw, False to freeze.

    Returns:
        The names whose state has changed.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> set_trainable(layer, ['weight'], False), layer.weight.requires_grad
        (['weight'], False)
        >>> set_trainable(layer, ['weight', 'bias'], True), layer.weight.requires_grad
        (['weight'], True)
    """
    record = _record(model)
    if on:
        changed = [name for name in names if record.get(name) is False]
        for name in changed:
            model.get_parameter(name).requires_grad_(True)
            del record[name]
    else:
        changed = _freeze(model, names, for_good=False)
    model.train(model.training)
    return changed


def _record(model: nn.Module) -> dict[str, bool]:
    """Return what was frozen in a model by name, each with whether it stays so."""
    return model.__dict__.setdefault('_frozen_names', {})


def _freeze(model: nn.Module, names: Iterable[str], for_good: bool) -> list[str]:
    params, record = dict(model.named_parameters(remove_duplicate=False)), _record(model)
    changed = [name for name in dict.fromkeys(names) if params[name].requires_grad]
    for name in names if for_good else changed:
        params[name].requires_grad_(False)
        record[name] = for_good
    return changed


def frozen_by(model: nn.Module, names: Iterable[str]) -> str:
    """Return the keys of the config that freeze these parameters for good: ``'model.freeze and model.norm_policy'``."""
    keys = model.__dict__.get('_freezing_keys', {})
    return ' and '.join(sorted({keys.get(name, 'another setting of the model') for name in names}))


def set_bn_eval(module: nn.Module) -> None:
    """Put the BatchNorm layers inside a module in eval mode, so that their running statistics do not move."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.eval()


def _rest_frozen(model: nn.Module) -> None:
    """Put the modules in eval mode whose parameters are all frozen, at least one of them by the functions of this file."""
    record = model.__dict__.get('_frozen_names')
    if not record:
        return

    def visit(module: nn.Module, prefix: str) -> list[tuple[bool, bool]]:
        """Return of each parameter in a module: whether it is trained, and whether it was frozen here."""
        states = [(p.requires_grad, prefix + n in record) for n, p in module.named_parameters(recurse=False)]
        for name, child in module.named_children():
            states += visit(child, f'{prefix}{name}.')
        if any(ours for _, ours in states) and not any(trained for trained, _ in states):
            module.eval()
        return states

    visit(model, '')


def half_frozen(model: nn.Module) -> list[str]:
    """Return a sentence each on weights that are frozen while their bias is trained, and the other way round."""
    layers: dict[bool, list[str]] = {False: [], True: []}
    for prefix, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        for name, weight in own.items():
            bias = own.get(name.removesuffix('weight') + 'bias') if name.endswith('weight') else None
            if bias is not None and bias.requires_grad != weight.requires_grad:
                layers[weight.requires_grad].append(prefix or name)
    return [
        f'frozen {frozen} with trained {trained} in {len(names)} layer{"s" if len(names) > 1 else ""}: '
        f'{", ".join(names[:4])}{" …" if len(names) > 4 else ""}'
        for frozen, trained, names in (('weight', 'bias', layers[False]), ('bias', 'weight', layers[True])) if names
    ]


class FreezableModel(BaseModel):
    """Base of models with the parts ``backbone``, ``neck`` or ``decoder``, and ``head``, of which any parameter can be frozen by name.

    A subclass takes the arguments ``freeze`` and ``norm_policy`` and hands them to :meth:`freeze` when its parts are built;
    so DistributedDataParallel, which is put around the model afterwards, waits for no gradient that never comes.

    A module all of whose parameters are frozen is at rest, with all that is in it: in eval mode also after ``train()``,
    so that BatchNorm statistics do not drift and dropout is off. For a layer beside frozen ones, such as a dropout in a block
    of which something is trained, nothing changes.
    """

    # The parts whose BatchNorm layers stay in eval mode.
    _resting_norms: tuple[str, ...] = ()

    def freeze(self,
               patterns: str | Sequence[str] | None = None,
               norm_policy: str | Mapping[str, str] = 'train') -> None:
        """Freeze parameters by name, and the BatchNorm layers, for good.

        Args:
            patterns: Parts of names as in ``named_parameters()`` (``'head.fc.bias'``), or regular expressions found in
                them: ``'backbone.layer[12]'``; ``'^(?!head)'``, all but the head.
            norm_policy: What BatchNorm layers do: ``'train'``: whatever the part they are in does; ``'eval'``: their
                statistics are fixed, their weight and bias are trained; ``'frozen'``: neither moves. A name is about the
                backbone, ``dict(backbone='eval', head='frozen')`` about the parts it names.

        Raises:
            ConfigError: If a pattern matches nothing, or a policy is unknown or has no BatchNorm layer to act on.
        """
        names = [name for name, _ in self.named_parameters(remove_duplicate=False)]
        single = isinstance(patterns, str)
        for i, pattern in enumerate([patterns] if single else patterns or ()):
            where = 'model.freeze' if single else f'model.freeze[{i}]'
            try:
                hits = match_names(pattern, names)
            except ValueError as err:
                raise ConfigError(f'{where}: {err}') from None
            if not hits:
                raise ConfigError(
                    f'{where}: {pattern!r} matches no parameter{did_you_mean(pattern, name_parts(names))}')
            self._freeze_for_good(hits, 'model.freeze')
        given = norm_policy if isinstance(norm_policy, Mapping) else dict(backbone=norm_policy)
        for part, policy in given.items():
            self._apply_norm_policy(part, policy)
        self.train(self.training)

    def _apply_norm_policy(self, part: str, policy: str) -> None:
        if part not in _PARTS:
            raise ConfigError(f'model.norm_policy: there is no part {part!r}{did_you_mean(str(part), _PARTS)}')
        if policy not in NORM_POLICIES:
            raise ConfigError(f'model.norm_policy={policy!r}{did_you_mean(str(policy), NORM_POLICIES)}')
        if policy == 'train':
            return
        module = getattr(self, part, None)
        norms = [] if module is None else [n for n, m in module.named_modules() if isinstance(m, _BatchNorm)]
        if not norms:
            raise ConfigError(f'model.norm_policy={policy!r}: the {part} ({type(module).__name__}) has no BatchNorm '
                              'layer; remove norm_policy')
        self._resting_norms = (*self._resting_norms, part)
        if policy == 'frozen':
            self._freeze_for_good([
                f'{part}.{norm}.{key}' for norm in norms
                for key, _ in module.get_submodule(norm).named_parameters(recurse=False)
            ], 'model.norm_policy')

    def _freeze_for_good(self, names: list[str], key: str) -> None:
        """Freeze parameters, and note which key of the config asked for it first."""
        _freeze(self, names, for_good=True)
        keys = self.__dict__.setdefault('_freezing_keys', {})
        for name in names:
            keys.setdefault(name, key)

    def train(self, mode: bool = True) -> 'FreezableModel':
        """Switch to training mode, all but what is frozen; or, with ``mode=False``, to eval mode."""
        super().train(mode)
        if mode:
            for part in self._resting_norms:
                set_bn_eval(getattr(self, part))
            _rest_frozen(self)
        return self
