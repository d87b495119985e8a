"""Tables as plain text."""
from collections.abc import Iterable, Mapping, Sequence

__all__ = ['render_table']


def render_table(columns: Mapping[str, str], rows: Iterable[Sequence[object]], width: int = 150) -> str:
    """Return a table as plain text, without trailing spaces.

    Args:
        columns: Title of each column to ``'left'`` or ``'right'``.
        rows: The cells of each row; None is shown as ``-``.
        width: Letters per line at most; longer cells are folded.

    Example:
        >>> print(render_table({'arm': 'left', 'score': 'right'}, [('scratch', 74.97), ('probe', None)]))
        arm      score
        scratch  74.97
        probe        -
    """
    from rich.console import Console  # takes 0.1 s, which a command that draws no table does not wait for
    from rich.table import Column, Table

    heads = [Column(title, justify=justify, overflow='fold') for title, justify in columns.items()]
    table = Table(*heads, box=None, pad_edge=False, header_style='bold')
    for row in rows:
        table.add_row(*('-' if cell is None else str(cell) for cell in row))
    console = Console(width=width, color_system=None, force_terminal=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return '\n'.join(line.rstrip() for line in capture.get().splitlines())
