"""Schedules of the learning rate beside MMEngine's."""
from .function import FunctionLR, FunctionMomentum, inverse_sqrt, one_cycle_momentum
from .one_cycle import OneCycleLR

__all__ = ['FunctionLR', 'FunctionMomentum', 'OneCycleLR', 'inverse_sqrt', 'one_cycle_momentum']
