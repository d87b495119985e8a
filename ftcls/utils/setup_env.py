"""Filling the registries."""
from datetime import datetime
from importlib import import_module

__all__ = ['register_all_modules']


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register everything of ftcls; what ftcls itself builds needs no call of it.

    The rooms are of higher floors, and are imported by their names when this is called.

    Args:
        init_default_scope: Also make ``ftcls`` the default scope, in which MMEngine looks names up, whichever it was.
    """
    from mmengine.registry import DefaultScope
    for room in ('datasets', 'engine', 'evaluation', 'models', 'visualization'):
        import_module(f'ftcls.{room}')
    if init_default_scope:
        DefaultScope.get_instance(f'ftcls-{datetime.now()}', scope_name='ftcls')
