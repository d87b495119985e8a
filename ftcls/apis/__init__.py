"""What a user calls: read a config, train, test, compare, predict. Each name is imported on its first use."""
import gc
import sys
from importlib import import_module
from typing import Any

_NAMES = {  # Where each public name lives; modules of higher floors are named here and not imported.
    'ftcls.apis.analysis.browse': ('browse_dataset', 'denormalised'),
    'ftcls.apis.analysis.calibrate': ('Calibration', 'calibrate'),
    'ftcls.apis.analysis.lr_finder': ('RangeTest', 'find_lr'),
    'ftcls.apis.analysis.merge_adapter': ('merge_adapter', ),
    'ftcls.apis.analysis.predictions': ('predictions_of', ),
    'ftcls.apis.analysis.print_params': ('describe_parameters', 'list_parameters'),
    'ftcls.apis.analysis.results': ('draw_results', 'read_results', 'sample_features'),
    'ftcls.apis.analysis.schedule': ('EpochLength', 'Schedule', 'draw_schedule', 'trace_schedule'),
    'ftcls.apis.analysis.wise_ft': ('interpolate_weights', 'wise_ft'),
    'ftcls.apis.export.export_model': ('export_model', ),
    'ftcls.apis.inference.features': ('FeatureExtractor', ),
    'ftcls.apis.inference.inferencer': ('ImageClassificationInferencer', 'inference_model'),
    'ftcls.apis.inference.model_zoo': ('get_model', 'init_model', 'list_models', 'resolve_model'),
    'ftcls.apis.inference.predict': ('PredictionReport', 'predict_files', 'split_checkpoint'),
    'ftcls.apis.inference.segmentation': ('ImageSegmentationInferencer', ),
    'ftcls.apis.report.publish': ('publish', ),
    'ftcls.apis.report.run': ('report_run', 'write_report'),
    'ftcls.apis.training.distributed': ('close_distributed', 'init_distributed'),
    'ftcls.apis.training.evaluation': ('test', ),
    'ftcls.apis.training.train': ('train', ),
    'ftcls.cli': ('add_config_options', 'run_tool'),
    'ftcls.config.batch_policy': ('BatchPlan', 'apply_batch_policy'),
    'ftcls.config.choices': ('BATCH_POLICIES', 'LAUNCHERS'),
    'ftcls.config.loading': ('apply_overrides', 'load_config'),
    'ftcls.config.resolve': ('TrainOptions', ),
    'ftcls.config.validation': ('validate_config', ),
    'ftcls.evaluation.metrics.confusion_matrix': ('ConfusionMatrix', ),
    'ftcls.experiments.compare': ('compare', 'few_shots', 'read_arms', 'standard_arms'),
    'ftcls.experiments.kfold': ('kfold', ),
    'ftcls.experiments.report': ('Comparison', 'CrossValidation', 'RunResult', 'Search'),
    'ftcls.experiments.run': ('Workers', ),
    'ftcls.experiments.search_space': ('Dimension', 'read_space'),
    'ftcls.experiments.tune': ('SearchOptions', 'tune'),
    'ftcls.experiments.tune_ray': ('tune_on_ray', ),
    'ftcls.scaffold.check_data': ('DataCheck', 'check_data'),
    'ftcls.scaffold.new_config': ('NewConfig', 'new_config'),
    'ftcls.utils.plain_files': ('allow_imports', ),
    'ftcls.utils.writable': ('check_writable', ),
    'ftcls.visualization': ('class_activation', 'iteration_times', 'plot_images', 'plot_logs', 'plot_points',
                            'read_log'),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Import a public name on its first use, so that importing ``ftcls.apis`` stays cheap."""
    if name not in _MODULE_OF:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = _MODULE_OF[name]
    if module not in sys.modules:
        _import(module)
    return getattr(sys.modules[module], name)


def _import(module: str) -> None:
    """Import a module without looking for garbage meanwhile, which takes a fifth of the time and finds none."""
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        import_module(module)
    finally:
        if is_collecting:
            gc.enable()
    if 'ftcls.cli' in sys.modules:
        # A tool is running: what was imported stays until its end. MMEngine looks for garbage for every dataset.
        gc.freeze()


def __dir__() -> list[str]:
    return __all__
