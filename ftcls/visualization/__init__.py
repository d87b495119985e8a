"""Figures: the curves of a run, runs compared, predictions drawn on images, what a classifier looks at."""
from .cam import class_activation
from .curves import plot_compare, plot_curves
from .images import overlay_mask, plot_images
from .logs import iteration_times, plot_logs, read_log
from .lr_curve import plot_range_test
from .points import plot_points
from .records import read_records
from .reliability import plot_reliability
from .schedule import plot_schedule
from .search import plot_search
from .visualizer import UniversalVisualizer

__all__ = [
    'UniversalVisualizer', 'class_activation', 'iteration_times', 'overlay_mask', 'plot_compare', 'plot_curves',
    'plot_images', 'plot_logs', 'plot_points', 'plot_range_test', 'plot_reliability', 'plot_schedule', 'plot_search',
    'read_log', 'read_records'
]
