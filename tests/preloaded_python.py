"""An interpreter for tests that starts at once: a copy of a process that has imported torch and the rest already.

The imports of a tool take longer than most small runs. A server imports once and forks itself for each command. The
executable that stands for the interpreter hands its arguments, environment, folder and open files to the server, passes
signals on, and ends as the copy ends. A command that a copy could not run as a fresh interpreter does (options of the
interpreter, another number of threads or encoding) gets a real one.
"""
import atexit
import functools
import gc
import importlib
import io
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

# What a small training, its report and an export import.
IMPORTED = ('ftcls.apis.training.train', 'ftcls.apis.training.evaluation', 'ftcls.config.validation', 'torchvision',
            'timm', 'matplotlib.pyplot', 'sklearn.metrics', 'sklearn.datasets', 'scipy.stats', 'cv2', 'PIL.Image',
            'cleanlab.multilabel_classification', 'jinja2', 'pytorch_grad_cam', 'rich.progress',
            'torch.distributed.run', 'torch.utils.tensorboard', 'mmengine.runner', 'mmengine.visualization')
# Settings that an interpreter or a library reads once, when it starts.
FIXED = ('LANG', 'LC_ALL', 'LC_CTYPE', 'OMP_NUM_THREADS', 'PYTHONUTF8', 'PYTHONIOENCODING', 'PYTHONWARNINGS',
         'MPLBACKEND')

_CLIENT = r'''#!{python} -IS
import json, os, signal, socket, sys
arguments, environment = sys.argv[1:], dict(os.environ)
fixed = {fixed!r}
first = next((word for word in arguments if word != '-u'), '-')
is_plain = first in ('-c', '-m') or not first.startswith('-')
if not is_plain or any(environment.get(name) != value for name, value in fixed.items()):
    os.execv({python!r}, [{python!r}, *arguments])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps(dict(arguments=arguments, environment=environment, folder=os.getcwd())).encode()
socket.send_fds(server, [len(request).to_bytes(8, 'little')], [0, 1, 2])
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, frame: server.send(bytes([number])))
server.sendall(request)
status = server.recv(4)
if not status:
    sys.exit('the server of the preloaded interpreter has ended')
code = os.waitstatus_to_exitcode(int.from_bytes(status, 'little'))
if code < 0:
    if code != -signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
'''


@functools.cache
def preloaded_python() -> str:
    """Return the path of the executable; its server ends, and its folder goes, with this process."""
    folder = Path(tempfile.mkdtemp(prefix='ftcls_python_'))
    path, address = folder / 'python', str(folder / 'server')
    environment = dict(os.environ, OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
    fixed = {name: environment.get(name) for name in FIXED}
    path.write_text(_CLIENT.format(python=sys.executable, address=address, fixed=fixed))
    path.chmod(0o700)
    server = subprocess.Popen([sys.executable, __file__, address, path],
                              env=environment,
                              stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE,
                              start_new_session=True)
    atexit.register(server.communicate)  # closes its input
    assert server.stdout.read(6) == b'ready\n'
    return str(path)


def _serve(address: str) -> dict:
    """Fork for each client, until the standard input is closed; return what to run, in the last copy of the process."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the handlers of finished commands are not waited for
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print('ready', flush=True)
        while True:
            if sys.stdin in select.select([listener, sys.stdin], [], [])[0]:
                shutil.rmtree(Path(address).parent)
                os._exit(0)
            client, _ = listener.accept()
            if not os.fork():
                break
            client.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return _handle(client)


def _handle(client: socket.socket) -> dict:
    """Return the request in a copy of this process; in this one pass signals on to it, and its end to the client."""
    head, files, _, _ = socket.recv_fds(client, 8, 3)
    request = json.loads(client.recv(int.from_bytes(head, 'little'), socket.MSG_WAITALL))
    pid = os.fork()
    if not pid:
        client.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        return request
    for file in files:
        os.close(file)
    ended = os.pidfd_open(pid)
    while ended not in select.select([client, ended], [], [])[0]:
        os.kill(pid, (client.recv(1) or bytes([signal.SIGKILL]))[0])
    status = os.waitpid(pid, 0)[1]
    client.sendall(status.to_bytes(4, 'little'))
    os._exit(0)


def _run(arguments: list[str], environment: dict[str, str], folder: str, executable: str) -> None:
    """Run what the arguments of an interpreter name, in this process."""
    import numpy as np
    np.random.seed()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    is_unbuffered = arguments[0] == '-u'  # torchrun starts its processes so
    sys.stdin = open(0, closefd=False)
    for number, name in enumerate(('stdout', 'stderr'), 1):
        file = open(number, 'wb', buffering=0 if is_unbuffered else -1, closefd=False)
        setattr(sys, name, io.TextIOWrapper(file, line_buffering=name == 'stderr', write_through=is_unbuffered))
    sys.executable = executable
    sys.orig_argv = [executable, *arguments]
    if is_unbuffered:
        arguments = arguments[1:]
    paths = [path for path in environment.get('PYTHONPATH', '').split(os.pathsep) if path]
    sys.path[:] = [*paths, *(path for path in sys.path[1:] if path not in paths)]
    kind, rest = (arguments[0], arguments[1:]) if arguments[0] in ('-c', '-m') else ('', arguments)
    sys.argv = rest
    if kind == '-c':
        sys.path.insert(0, '')
        sys.argv = ['-c', *rest[1:]]
        exec(compile(rest[0], '<string>', 'exec'), vars(sys.modules['__main__']))
    elif kind == '-m':
        sys.path.insert(0, folder)
        runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(os.path.realpath(rest[0])))
        runpy.run_path(rest[0], run_name='__main__')


if __name__ == '__main__':
    _run(**_serve(sys.argv[1]), executable=sys.argv[2])
