# PYTHON_ARGCOMPLETE_OK
"""The command ``ftcls``, and what all tools share: an error that the user can fix is a message, not a traceback."""
import argparse
import hashlib
import logging
import os
import re
import runpy
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import ftcls
from ftcls.signals import RunStopped, stop_signals
from ftcls.utils.errors import OverrideError, UserError, unwrapped
from ftcls.utils.names import SHORT_COMMANDS, command, did_you_mean, shipped_folder

__all__ = ['add_config_options', 'main', 'run_tool']

_GROUPS = {  # in the order of the help; tools that are not named here are its last group
    'Begin': 'demo new_config check_data browse_dataset print_config print_params',
    'Train': 'train lr_finder vis_scheduler dist_train slurm_train',
    'Many runs': 'compare kfold tune',
    'Judge': 'test dist_test report calibrate confusion_matrix analyze_results analyze_logs vis_cam vis_tsne get_flops',
    'Use': 'predict export publish merge_adapter wise_ft',
}
_PARTS = ('dist_launch', 'dist_run')  # of other tools


def main() -> None:
    """Run the tool that the first argument names: the command ``ftcls``, the same as ``python -m ftcls``."""
    run_tool(_main)


def _main() -> int | None:
    files = _find_tools()
    names = {SHORT_COMMANDS.get(tool, tool): tool for tool in files}
    parser = argparse.ArgumentParser(
        'ftcls',
        usage='ftcls COMMAND [ARGUMENTS]',
        description=ftcls.__doc__,
        epilog=f'{_list_tools(files)}\n\n`ftcls COMMAND --help` explains a command.',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--version', action='version', version=f'ftcls {ftcls.__version__}')
    parser.add_argument('command', metavar='COMMAND', help=argparse.SUPPRESS).completer = lambda **_: names
    words = sys.argv
    if '_ARGCOMPLETE' in os.environ:
        words = _complete(parser)
    name = parser.parse_known_args(words[1:2] or ['--help'])[0].command
    tool = names.get(name, name.replace('-', '_'))
    if tool not in files:
        hint = did_you_mean(name, [*names, *files], most=1, lists=False) or '; see `ftcls --help`'
        parser.error(f'{name!r} is not a command{hint}')
    sys.argv = [command(tool), *words[2:]]
    if files[tool].suffix == '.sh':
        os.environ.setdefault('PYTHON', sys.executable)
        os.execvp('bash', ['bash', str(files[tool]), *words[2:]])
    return runpy.run_path(str(files[tool]))['main']()


def _complete(parser: argparse.ArgumentParser) -> list[str]:
    """Tell the shell, which asks at TAB, how the command can continue, and exit.

    Returns:
        The words that name a tool if they are typed already; its own parser then answers.
    """
    import argcomplete
    words = argcomplete.split_line(os.environ['COMP_LINE'], int(os.environ['COMP_POINT']))[3]
    if len(words) == 1:
        argcomplete.autocomplete(parser)
    os.environ['_ARGCOMPLETE'] = '2'  # where the tool's arguments begin
    argparse.ArgumentParser.parse_args = lambda parser, *_: argcomplete.autocomplete(parser)
    return words[:2]


def _find_tools() -> dict[str, Path]:
    """Return name to file of the tools."""
    return {file.stem: file for file in sorted(shipped_folder('tools').glob('*.[ps][yh]')) if file.stem not in _PARTS}


def _list_tools(files: Mapping[str, Path]) -> str:
    """Return the tools by group, each with the first line of its docstring, or of its comment in a shell script."""
    groups = {title: [name for name in names.split() if name in files] for title, names in _GROUPS.items()}
    groups['Others'] = [name for name in files if name not in sum(groups.values(), [])]
    width = max(60, shutil.get_terminal_size().columns)
    lines = []
    for title, names in groups.items():
        lines += [f'\n{title}:'] * bool(names)
        for name in names:
            text = re.search(r'^(?:"""|# )(.+?)(?:"""|$)', files[name].read_text(encoding='utf-8'), re.MULTILINE)[1]
            text = f'  {SHORT_COMMANDS.get(name, name):<18}{text}'
            lines.append(textwrap.fill(text, width, subsequent_indent=' ' * 20))
    return '\n'.join(lines).lstrip()


class _AllowImports(argparse.Action):

    def __call__(self, *args: object) -> None:
        from ftcls.utils.plain_files import allow_imports
        allow_imports()


def add_config_options(parser: argparse.ArgumentParser, overrides: bool = True) -> None:
    """Add the options of every tool that reads a config; without ``overrides`` those that change no part of it."""
    if overrides:
        parser.add_argument(
            '--cfg-options',
            nargs='+',
            action='extend',
            default=[],
            metavar='KEY=VALUE',
            help='override parts of the config, e.g. train_dataloader.batch_size=8 model.head.num_classes=2')
    parser.add_argument(
        '--allow-imports',
        nargs=0,
        action=_AllowImports,
        help='let a JSON or YAML config, or a .pt2 or .pt file, run code; only if trusted')


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a tool's ``main`` and exit: 0 done, 1 a defect (with traceback), 2 an error of the user.

    ``--work_dir`` is read as ``--work-dir``.
    A signal ends it with 128 + its number: 130 Ctrl-C, 143 SIGTERM, 138 SIGUSR1.

    ``FTCLS_TRACEBACK=1`` in the environment shows the traceback of user errors too. If several processes fail, the
    first one prints why; the others add a line only if they know something else.
    """
    if sys.getfilesystemencoding() != 'utf-8':  # LANG=C with PYTHONUTF8=0: no file of another name could be opened
        os.execv(sys.executable, [sys.executable, '-X', 'utf8', *sys.orig_argv[1:]])
    sys.argv[1:] = [re.sub('^--[^=]+', lambda option: option[0].replace('_', '-'), arg) for arg in sys.argv[1:]]
    logging.raiseExceptions = False  # a closed pipe stops no training, and is no news
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:  # closed by who started the tool
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))
        if hasattr(getattr(sys, name), 'reconfigure'):  # LANG=C cannot show every name
            getattr(sys, name).reconfigure(errors='backslashreplace')
    with stop_signals():
        sys.exit(_exit_code(main))


def _exit_code(main: Callable[[], int | None]) -> int:
    """Run ``main``, print what went wrong and return the exit code."""
    try:
        code = main() or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (`| head`) has seen enough; nothing must be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except RunStopped as stop:
        print(stop, file=sys.stderr, end='\n' * bool(stop.text))
        code = 128 + stop.signum
    except KeyboardInterrupt:  # raised by a program
        code = 130
    except Exception as err:
        code = _report(err)
    finally:
        if 'torch' in sys.modules:  # `--help` imports no torch
            from ftcls.apis.training.distributed import close_distributed
            close_distributed()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _report(err: Exception) -> int:
    """Print what went wrong and return the exit code."""
    import traceback

    from ftcls.apis.training.distributed import count_event

    is_user_error = isinstance(err, UserError)
    text = str(unwrapped(err)) if is_user_error else str(err)
    if isinstance(err, OverrideError):  # say too what else is wrong with the config
        from ftcls.config.validation import validate_config
        try:
            validate_config(err.cfg)
        except UserError as others:
            text += f'\n{others}'
    if 'Original Traceback' in text:  # from a data loading worker, whose own message comes last
        text = text.rsplit(f'{type(err).__name__}: ', 1)[-1].strip()
    failures = count_event('failed')
    same = count_event('failed with ' + hashlib.sha256(text.encode(errors='replace')).hexdigest())
    who = f' in process {os.environ["RANK"]}' if int(os.environ.get('WORLD_SIZE', 1)) > 1 else ''
    if not is_user_error:
        if failures == 1:
            traceback.print_exc()
        else:  # most often: the connection to the process that failed is lost
            first_line = text.partition('\n')[0]
            print(f'error{who}, after another one failed: {type(err).__name__}: {first_line}', file=sys.stderr)
        return 1
    if os.environ.get('FTCLS_TRACEBACK'):
        traceback.print_exc()
    if same == 1:  # the first of all failures needs no number
        print(f'error: {text}' if failures == 1 else f'error{who}: {text}', file=sys.stderr)
    return 2
