"""The page on the command `ftcls`: its commands are there, and run from an installed wheel in an empty folder."""
import re
from pathlib import Path

from commands import ROOT, documented_commands

from ftcls.cli import _find_tools
from ftcls.utils.names import SHORT_COMMANDS

PAGE = ROOT / 'docs' / 'command.md'


def test_named_commands_are_there() -> None:
    tools = _find_tools()
    long = {short: tool for tool, short in SHORT_COMMANDS.items()}
    text = PAGE.read_text(encoding='utf-8')
    named = set(re.findall(r'(?:`|^|-m )ftcls ([a-z]\w+)', text, flags=re.M))
    assert {long.get(name, name) for name in named} <= set(tools) and len(named) > 10
    for line in re.findall(r'^\| `.* \|$', text, flags=re.M):
        file, name = re.search(r'`(?:python|bash) (tools/\S+) .* \| `ftcls (\w+) ', line).groups()
        assert tools[long.get(name, name)] == ROOT / file
    assert all(f'ftcls {short} ' in text for short in long)


def test_its_configs_are_there() -> None:
    from ftcls.config.reading import resolve_config_path
    named = set(re.findall(r'(?:ftcls::\S+\.py|\blenet5_\w+_digits)\b', '\n'.join(documented_commands(PAGE))))
    assert len(named) == 3 and all(Path(resolve_config_path(name)).is_file() for name in named)
