"""Writes the report of runs: by command, or at the end of one."""
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from ftcls.apis.training.distributed import close_distributed
from ftcls.config.resolve import EvalOptions, work_dir_of
from ftcls.engine.mmengine_compat import log_level
from ftcls.signals import RunStopped
from ftcls.utils import MissingFileError
from ftcls.utils.checkpoint.folder import write_whole
from ftcls.utils.log import warn
from ftcls.utils.names import command, missing_hint
from .contents import RunContents
from .gather import gather_run, read_results
from .verdict import verdict_of

__all__ = ['report_run', 'write_report']

_MOST_RUNS = 12  # of an experiment


def write_report(folders: Sequence[str | os.PathLike],
                 out: str | os.PathLike | None = None,
                 *,
                 checkpoint: str | None = None,
                 compared: str | os.PathLike | None = None) -> tuple[Path, list[RunContents]]:
    """Write what runs have learned as one HTML file, with all images in it.

    Args:
        folders: Work dirs of runs. A folder of a comparison, a cross-validation or a search is for the runs in it.
        out: The file; None for ``report.html`` in the first folder.
        checkpoint: Of the only run; None for the best, else the last one of each.
        compared: The folder of a comparison or cross-validation of the same data, for the verdict and for labels that
            look wrong; None for the one that a run is in.

    Returns:
        The path of the file, and what is in it.

    Raises:
        MissingFileError: If a folder holds no run.
    """
    from .page import render
    runs = []
    with log_level('ERROR'):
        for folder in map(Path, folders):
            if not folder.exists():
                raise MissingFileError(f'work dir {folder} does not exist{missing_hint(folder)}')
            if (folder / 'results.json').is_file():
                runs += _gather_experiment(folder)
            else:
                runs.append(gather_run(folder, checkpoint, compared))
    path = Path(out or Path(folders[0], 'report.html'))
    write_whole(path, render(runs))
    return path, runs


def _gather_experiment(folder: Path) -> list[RunContents]:
    """Return the contents of a comparison, a cross-validation or a search, then of its first runs."""
    files = sorted(folder.rglob('result.json'), key=lambda file: (file.parent.name, file))  # a seed of each arm
    results = read_results(folder)
    whole = RunContents(folder.resolve().name, str(folder))
    if len(files) > _MOST_RUNS:
        whole.notes.append(f'{len(files) - _MOST_RUNS} of {len(files)} runs: give their folders')
    runs = [whole]
    for file in files[:_MOST_RUNS]:
        runs.append(gather_run(file.parent))
        runs[-1].name = str(file.parent.relative_to(folder))
    whole.verdict = verdict_of(whole, dict(results, members=runs[1:]))
    return runs


def report_run(cfg: Config, work_dir: str | None = None, checkpoint: str | None = None) -> None:
    """Write the report of a run that has ended, unless the config says ``report = False``; a failure is a warning.

    Args:
        cfg: The config.
        work_dir: Where the run has written; None for the config's.
        checkpoint: That was tested; None for the best of the run.

    Raises:
        RunStopped: On a signal; it says that only the report is missing.
    """
    folder = work_dir_of(cfg, EvalOptions(work_dir))
    if not cfg.get('report', True) or not is_main_process():
        return
    close_distributed()
    print_log('writing the report', logger='current')
    try:
        path, runs = write_report([folder], checkpoint=checkpoint)
        print_log('\n  '.join([f'report: {path}', *runs[0].verdict]), logger='current')
    except RunStopped as stop:
        text = f'{stop.text} while the report was written; the run is whole'
        raise RunStopped(stop.signum, text, f'write the report: {command("report", folder)}') from stop
    except Exception as err:  # noqa: B902  whatever goes wrong, the run is whole
        warn(f'the report cannot be written ({type(err).__name__}: {err}); try again: {command("report", folder)}')
