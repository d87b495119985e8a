"""The checkpoints in the folder of a run: which are whole, which is the newest, what a killed process left."""
import contextlib
import itertools
import os
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from ftcls.utils.errors import CheckpointError

__all__ = ['checkpoint_form', 'is_whole', 'newest_whole', 'remove_drafts', 'save_whole', 'whole', 'write_whole']


def checkpoint_form(template: str | None = None) -> re.Pattern:
    """Return the form of the names of a run's checkpoints.

    Args:
        template: ``CheckpointHook.filename_tmpl``, if it is another than ``epoch_{}.pth`` or ``iter_{}.pth``.

    Returns:
        A pattern with the groups ``best``, ``own`` (the number in the place of ``{}``), ``unit`` and ``number``.
    """
    own = re.escape(template or 'epoch_{}.pth').replace(r'\{\}', r'(?P<own>\d+)').removesuffix(r'\.pth')
    return re.compile(rf'(?P<best>best_.+_)?(?:{own}|(?P<unit>epoch|iter)_(?P<number>\d+))(?:-[0-9a-f]{{8}})?\.pth')


def is_whole(path: str | os.PathLike) -> bool:
    """Tell whether a checkpoint of torch is complete and undamaged; all of it is read, by its check sums.

    A file in torch's format before 1.6 has none, and is taken to be whole.
    """
    try:
        with open(path, 'rb') as file:
            if file.read(1) == b'\x80':
                return True
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return False


def newest_whole(folders: Iterable[Path], template: str | None = None) -> Path | None:
    """Return the whole checkpoint of the latest iteration, best ones apart, None if there is none.

    Args:
        folders: Where to look.
        template: See :func:`checkpoint_form`.
    """
    form, found = checkpoint_form(template), {}
    for path in itertools.chain.from_iterable(folder.glob('*.pth') for folder in folders):
        if (match := form.fullmatch(path.name)) is None or match['best']:
            continue
        with contextlib.suppress(Exception):  # a damaged file can lead to any error
            meta = torch.load(path, map_location='cpu', weights_only=True, mmap=True)['meta']
            found[path] = (meta['iter'], meta['epoch'])
    return next((path for path in sorted(found, key=found.get, reverse=True) if is_whole(path)), None)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a name to write a file or a folder under; when it is complete it takes its place, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.part')
    try:
        yield draft
        draft.replace(path)
    finally:
        if draft.is_dir():
            shutil.rmtree(draft)
        draft.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file, and make its folder; others see the old file until it is complete."""
    with whole(path) as draft:
        draft.write_text(text, encoding='utf-8')


def save_whole(path: Path, checkpoint: dict) -> None:
    """Save a checkpoint; others see the old file until it is complete.

    Raises:
        CheckpointError: If it cannot be written, for example on a full disk; the old file stays.
    """
    try:
        with whole(path) as draft:
            torch.save(checkpoint, draft)
    except (OSError, RuntimeError) as err:  # torch raises the latter on a full disk
        why = str(err).splitlines()[0]
        raise CheckpointError(f'{path} cannot be written ({why}); free the disk, or choose another file') from err


def remove_drafts(folder: Path) -> None:
    """Remove what runs that were killed were writing in a folder; the lock of a run keeps others out of it."""
    for draft in folder.glob('.*.part'):
        if re.fullmatch(r'\..+\.[0-9a-f]{32}\.part', draft.name):
            draft.unlink(missing_ok=True)
