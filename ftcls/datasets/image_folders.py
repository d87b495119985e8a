"""The images in a folder, by their endings or their content."""
import os
from collections import Counter
from pathlib import Path

from ftcls.utils import DataError
from ftcls.utils.names import enumerate_names
from .headers import FORMATS, IMAGE_SUFFIXES, content_kind

__all__ = ['ImageFinder', 'folders_above', 'is_clutter']

_CLUTTER = ('__MACOSX', '__pycache__', '@eaDir', '#recycle', '$RECYCLE.BIN', 'System Volume Information', 'lost+found')
_UNREAD = 'images of a kind that is not read here'


class ImageFinder:
    """Finds the images in folders, and counts what else is there.

    Args:
        extensions: Endings of images, in lower case. If they are the default ones, other files whose content is an
            image are found too.
    """

    def __init__(self, extensions: tuple[str, ...] = IMAGE_SUFFIXES) -> None:
        self.extensions = extensions
        self.looks_inside = set(extensions) == set(IMAGE_SUFFIXES)
        self.skipped: Counter = Counter()  #: What the folders contain beside images, and how many of each.
        self.by_content: Counter = Counter()  #: endings of those that were recognized by their content

    def has_ending(self, filename: str) -> bool:
        """Tell whether a file is an image by its ending."""
        return filename.lower().endswith(self.extensions)

    def find(self, folder: str) -> list[str]:
        """Return the paths of the images in ``folder`` at any depth, sorted; count what is skipped.

        A link to a folder above it, by its name or by what a link stands for, is not followed: the other classes there
        are none of its own.
        """
        paths, seen = [], folders_above(folder) | folders_above(os.path.realpath(folder))
        for root, dirs, files in os.walk(folder, onerror=_refuse, followlinks=True):
            real = os.path.realpath(root)
            if real in seen:
                self.skipped[f'link {os.path.basename(root)!r} to a folder above it, or read already'] += 1
                dirs.clear()
                continue
            seen.add(real)
            self.skipped.update(f'folder {name!r}' for name in dirs if is_clutter(name))
            dirs[:] = [name for name in dirs if not is_clutter(name)]
            for name in files:
                path = os.path.join(root, name)
                if is_clutter(name):
                    self.skipped['hidden files'] += 1
                elif self.has_ending(name) or self._is_image_inside(path):
                    paths.append(path)
        return sorted(paths)

    def _is_image_inside(self, path: str) -> bool:
        """Tell whether the content of a file is an image, and count the file."""
        ending = f'*{Path(path).suffix or " without ending"}'
        kind = content_kind(path) if self.looks_inside else ''
        if kind in FORMATS:
            self.by_content[ending] += 1
        else:
            self.skipped[f'{ending}, {_UNREAD}' if kind else ending] += 1
        return kind in FORMATS

    def unread(self) -> list[str]:
        """Return what images are skipped because they cannot be read."""
        return [f'{what} ({count})' for what, count in self.skipped.items() if what.endswith(_UNREAD)]

    def describe(self) -> list[str]:
        """Return what the endings do not say, for the preflight."""
        lines = self.unread()
        if self.by_content:
            lines.append(f'{self.by_content.total()} are images by their content: {enumerate_names(self.by_content)}')
        return lines


def _refuse(err: OSError) -> None:
    if not isinstance(err, FileNotFoundError):
        raise DataError(f'cannot read the folder {err.filename}: {err.strerror}') from err


def folders_above(folder: str) -> set[str]:
    """Return the real paths of the folders above one."""
    parent = Path(os.path.realpath(Path(os.path.abspath(folder)).parent))
    return {str(parent), *map(str, parent.parents)}


def is_clutter(name: str) -> bool:
    """Tell whether a file or folder is hidden, or is one that an operating system or a program adds."""
    return name.startswith('.') or name in _CLUTTER
