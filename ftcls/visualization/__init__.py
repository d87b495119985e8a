"""Figures: the curves of a run, runs compared, predictions drawn on pictures."""
from .curves import plot_compare, plot_curves
from .records import read_records
from .visualizer import UniversalVisualizer

__all__ = ['UniversalVisualizer', 'plot_compare', 'plot_curves', 'read_records']
