"""Write the tables of model_zoo.md from the header docstrings of the configs: ``python docs/make_model_zoo.py``."""
import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'model_zoo.md'
MEASURED = re.compile(r'\d\.\d+ (±|%)|results are in docs/\w+\.md')  # a score, or the page that has it


def rows() -> list[tuple[str, str, str]]:
    """Return path, first sentence and measured score ('' if there is none) of each config, sorted by path."""
    found = []
    for path in sorted((ROOT / 'configs').glob('**/*.py')):
        if '_base_' in path.parts:
            continue
        first, *others = re.split(r'\n\s*\n', ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))))
        scores = ' '.join(part for part in others if MEASURED.search(part) and not part.startswith('python '))
        found.append((path.relative_to(ROOT / 'configs').as_posix(), _cell(first), _cell(scores)))
    return found


def _cell(text: str) -> str:
    """Return text that fits a cell of a table; pages become links."""
    text = re.sub(r'\(docs/\w+\.md\) ?', '', ' '.join(text.split())).replace('|', '\\|')
    return re.sub(r'docs/(\w+)\.md', r'[\1](\1.md)', text)


def tables() -> dict[str, str]:
    """Return the tables by the names of their markers."""
    measured = [row for row in rows() if row[2]]
    others = [row for row in rows() if not row[2]]
    head = '| config | what it is | measured |\n| --- | --- | --- |\n'
    return {
        'measured':
        head + '\n'.join(f'| `{path}` | {what} | {score} |' for path, what, score in measured),
        'others':
        '| config | what it is |\n| --- | --- |\n' + '\n'.join(f'| `{path}` | {what} |' for path, what, _ in others)
    }


def filled(text: str) -> str:
    """Return the page with the tables between its markers."""
    for name, table in tables().items():
        text = re.sub(
            rf'(<!-- {name} -->\n).*?(<!-- /{name} -->)',
            lambda match: f'{match[1]}{table}\n{match[2]}',
            text,
            flags=re.S)
    return text


if __name__ == '__main__':
    PAGE.write_text(filled(PAGE.read_text(encoding='utf-8')), encoding='utf-8')
