"""Schedules of the learning rate beside MMEngine's."""
from .function import FunctionLR, FunctionMomentum, inverse_sqrt, one_cycle_momentum

__all__ = ['FunctionLR', 'FunctionMomentum', 'inverse_sqrt', 'one_cycle_momentum']
