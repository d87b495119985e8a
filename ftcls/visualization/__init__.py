"""Figures: the curves of a run, runs compared, predictions drawn on pictures."""
from .curves import plot_compare, plot_curves
from .records import read_records
from .reliability import plot_reliability
from .schedule import plot_schedule
from .visualizer import UniversalVisualizer

__all__ = ['UniversalVisualizer', 'plot_compare', 'plot_curves', 'plot_reliability', 'plot_schedule', 'read_records']
