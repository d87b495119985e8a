"""What a validation measures."""
from . import metrics
from .direction import higher_is_better, resolve_rule
from .metrics import *  # noqa: F401,F403

__all__ = [*metrics.__all__, 'higher_is_better', 'resolve_rule']
