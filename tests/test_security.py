"""No file, however made, runs code: each case reads a malicious one, which leaves a mark if anything in it is run.

``python tests/test_security.py`` prints a table of the cases.
"""
import contextlib
import io
import json
import os
import pickle
import sys
import tarfile
import tempfile
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from ftcls.apis import TrainOptions, get_model, load_config, new_config, read_space, train, validate_config, wise_ft
from ftcls.config.reading import read_config
from ftcls.datasets import CIFAR10, BaseDataset
from ftcls.experiments.search_space import check_space
from ftcls.registry import DATASETS
from ftcls.utils import UserError
from ftcls.utils.checkpoint.loading import load_pretrained, read_checkpoint
from ftcls.utils.checkpoint.reading import load_from_ftcls, locate_checkpoint
from ftcls.utils.plain_files import allow_imports, imports

BASE = 'ftcls::tutorial/lenet5_pretrain_digits.py'
TINY = {
    'train_cfg.max_epochs': 1,
    'train_dataloader.dataset.indices': 80,
    'val_dataloader': None,
    'val_cfg': None,
    'val_evaluator': None
}
MARK = 'ran'
# An attack writes its files into a folder and has them read; what it returns is shown, an error is expected otherwise.
Attack = Callable[[Path], object]
ATTACKS: dict[str, Attack] = {}


def attack(name: str) -> Callable[[Attack], Attack]:
    """Register an attack."""

    def register(function: Attack) -> Attack:
        ATTACKS[name] = function
        return function

    return register


class Call:
    """Pickles to a call of ``function``."""

    def __init__(self, function: Callable, *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple:
        return self.function, self.args


def code(folder: Path) -> str:
    """An expression that leaves the mark."""
    return f'__import__("os").mkdir({str(folder / MARK)!r})'


def payload(folder: Path) -> Call:
    """An object that leaves the mark when it is unpickled."""
    return Call(os.system, f'touch {folder / MARK}')


def weights() -> dict[str, torch.Tensor]:
    return nn.Linear(2, 2).state_dict()


def config(folder: Path, name: str = 'evil.json', **content: object) -> Path:
    """Write a JSON or YAML config over the tutorial's."""
    content = {'_base_': BASE, **content}
    text = yaml.safe_dump(content) if name.endswith('.yaml') else json.dumps(content)
    (folder / name).write_text(text, encoding='utf-8')
    return folder / name


def module(folder: Path) -> str:
    """Write a module that leaves the mark when it is imported, put it on the path, and return its name."""
    name = f'evil_{abs(hash(folder))}'
    (folder / f'{name}.py').write_text(code(folder), encoding='utf-8')
    return name


def check(path: Path) -> None:
    validate_config(load_config(path))


# -- weights


@attack('weights: os.system in a zip of torch.save')
def _(folder: Path) -> None:
    torch.save({'state_dict': weights(), 'meta': payload(folder)}, folder / 'w.pth')
    load_pretrained(nn.Linear(2, 2), folder / 'w.pth')


@attack('weights: os.system in the old format')
def _(folder: Path) -> None:
    torch.save({'a': weights(), 'b': payload(folder)}, folder / 'w.pth', _use_new_zipfile_serialization=False)
    load_pretrained(nn.Linear(2, 2), folder / 'w.pth')


@attack('weights: a bare pickle')
def _(folder: Path) -> None:
    (folder / 'w.bin').write_bytes(pickle.dumps(payload(folder)))
    load_pretrained(nn.Linear(2, 2), folder / 'w.bin')


@attack('weights: eval in the state of an argparse.Namespace')
def _(folder: Path) -> None:
    torch.save({'state_dict': weights(), 'args': Namespace(x=Call(eval, code(folder)))}, folder / 'w.ckpt')
    load_pretrained(nn.Linear(2, 2), folder / 'w.ckpt')


@attack('weights: a TorchScript program')
def _(folder: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(folder / 'w.pt'))
    load_pretrained(nn.Linear(2, 2), folder / 'w.pt')


@attack('weights: a zip with a member ../ran')
def _(folder: Path) -> None:
    (folder / 'in').mkdir()
    with zipfile.ZipFile(folder / 'in' / 'w.pth', 'w') as archive:
        archive.writestr('w/data.pkl', pickle.dumps({'a': 1}, protocol=2))
        archive.writestr(f'../{MARK}', 'x')
    read_checkpoint(folder / 'in' / 'w.pth')


@attack('weights: an address whose name is ..%2F..%2Fran')
def _(folder: Path) -> str:
    hub = folder / 'hub' / 'checkpoints'
    hub.mkdir(parents=True)
    (folder / 'hub' / 'served').write_text('x')
    before, torch.hub._hub_dir = torch.hub._hub_dir, str(folder / 'hub')
    try:
        locate_checkpoint('http://127.0.0.1:9/..%2F..%2F' + MARK)
    except UserError as err:
        return str(err)
    finally:
        torch.hub._hub_dir = before


@attack('WiSE-FT: os.system in the pretrained file')
def _(folder: Path) -> None:
    torch.save({'state_dict': weights(), 'meta': payload(folder)}, folder / 'a.pth')
    torch.save(weights(), folder / 'b.pth')
    wise_ft(folder / 'a.pth', folder / 'b.pth', (0.5, ), folder / 'out')


# -- configs inside of checkpoints


def _trained(folder: Path) -> Path:
    """Train for one epoch and put code into the checkpoint where a config is, for ftcls and for MMEngine."""
    train(load_config(BASE, TINY), TrainOptions(work_dir=str(folder / 'run')))
    file = next((folder / 'run').glob('epoch_*.pth'))
    checkpoint = torch.load(file)
    text = f'{checkpoint["meta"]["cfg"]}\ny = {code(folder)}\n'
    checkpoint['meta'].update(cfg=text, config=text)
    torch.save(checkpoint, file)
    return file


@attack("--resume: code in meta['cfg'] and meta['config']")
def _(folder: Path) -> str:
    file = _trained(folder)
    longer = load_config(BASE, {**TINY, 'train_cfg.max_epochs': 2})
    runner = train(longer, TrainOptions(work_dir=str(folder / 'again'), resume=str(file)))
    assert runner.epoch == 2
    # the same file, for other uses
    train(load_config(BASE, {**TINY, 'load_from': str(file)}), TrainOptions(work_dir=str(folder / 'from')))
    assert get_model(BASE, file, device='cpu').head.num_classes == 10
    assert 'config' not in load_from_ftcls(str(file))['meta']
    return 'resumed, loaded by load_from and by get_model; its text was not run'


# -- annotations


def _annotations(folder: Path) -> dict:
    return {'metainfo': {'classes': ['a']}, 'data_list': [], 'x': payload(folder)}


def _read_list(path: Path, kind: str = 'BaseDataset') -> None:
    with DefaultScope.overwrite_default_scope('ftcls'):
        DATASETS.build(dict(type=kind, ann_file=str(path)))


for suffix in ('pkl', 'pickle', 'pth', 'PKL'):

    @attack(f'annotations: a pickle, x.{suffix}')
    def _(folder: Path, suffix: str = suffix) -> None:
        (folder / f'x.{suffix}').write_bytes(pickle.dumps(_annotations(folder)))
        _read_list(folder / f'x.{suffix}')


@attack("annotations: a pickle, read by MMEngine's own BaseDataset")
def _(folder: Path) -> None:
    (folder / 'x.pkl').write_bytes(pickle.dumps(_annotations(folder)))
    _read_list(folder / 'x.pkl', 'mmengine.dataset.BaseDataset')


@attack('annotations: an array of objects, x.npy')
def _(folder: Path) -> None:
    np.save(folder / 'x.npy', np.array([payload(folder)], dtype=object), allow_pickle=True)
    _read_list(folder / 'x.npy')


for kind in ('BaseDataset', 'mmengine.dataset.BaseDataset'):

    @attack(f'annotations: a Python object in YAML, read by {kind}')
    def _(folder: Path, kind: str = kind) -> None:
        text = f"metainfo: !!python/object/apply:os.system ['touch {folder / MARK}']\ndata_list: []\n"
        (folder / 'x.yaml').write_text(text)
        _read_list(folder / 'x.yaml', kind)


@attack('annotations: code as text in JSON')
def _(folder: Path) -> str:
    sample = {'img_path': f"__import__('os').system('touch {folder / MARK}')", 'gt_label': 0}
    content = {'metainfo': {'classes': [f"{{{{ {code(folder)} }}}}"]}, 'data_list': [sample]}
    (folder / 'x.json').write_text(json.dumps(content))
    return repr(BaseDataset(str(folder / 'x.json')).get_data_info(0)['img_path'])


# -- JSON and YAML configs

SYSTEM = 'os.system'
PLACES: dict[str, Callable[[dict], dict]] = {
    'a hook': lambda evil: dict(custom_hooks=[evil]),
    'a default hook': lambda evil: dict(default_hooks=dict(mine=evil)),
    'a transform': lambda evil: dict(train_dataloader=dict(dataset=dict(pipeline=[evil]))),
    'the optimizer': lambda evil: dict(optim_wrapper=dict(optimizer=dict(evil, _delete_=True))),
    'the constructor': lambda evil: dict(optim_wrapper=dict(constructor=evil['type'])),
    'a backend of the visualizer': lambda evil: dict(visualizer=dict(vis_backends=[evil])),
    'collate_fn': lambda evil: dict(train_dataloader=dict(collate_fn=evil)),
    'the backbone': lambda evil: dict(model=dict(backbone=dict(evil, _delete_=True))),
    'init_cfg': lambda evil: dict(model=dict(init_cfg=evil)),
    'the loop': lambda evil: dict(train_cfg=dict(evil, _delete_=True)),
    'the evaluator': lambda evil: dict(val_evaluator=[evil]),
    'the schedule': lambda evil: dict(param_scheduler=[evil]),
}
for place, content in PLACES.items():

    @attack(f'config: os.system as {place} in JSON')
    def _(folder: Path, content: Callable = content) -> None:
        check(config(folder, **content(dict(type=SYSTEM, command=f'touch {folder / MARK}'))))


@attack('config: os.system as a layer that the model builds')
def _(folder: Path) -> None:
    net = dict(type='ResNet', depth=18, _delete_=True, in_channels=1, norm_cfg=dict(type=SYSTEM, command='x'))
    get_model(config(folder, model=dict(backbone=net)), device='cpu')


@attack('config: os.system as the backbone, read by get_model')
def _(folder: Path) -> None:
    evil = dict(type=SYSTEM, command=f'touch {folder / MARK}', _delete_=True)
    get_model(config(folder, model=dict(backbone=evil)), device='cpu')


for name, changes in {
        'custom_imports': lambda evil: dict(custom_imports=dict(imports=[evil])),
        'a dotted type': lambda evil: dict(custom_hooks=[dict(type=f'{evil}.Hook')]),
        'a plain type': lambda evil: dict(custom_hooks=[dict(type=evil)]),
        'default_scope': lambda evil: dict(default_scope=evil),
        '_scope_': lambda evil: dict(custom_hooks=[dict(type='EMAHook', _scope_=evil)]),
}.items():

    @attack(f'config: a module of the folder by {name} in JSON')
    def _(folder: Path, changes: Callable = changes) -> str:
        cfg = load_config(config(folder, **changes(module(folder))), TINY)
        train(cfg, TrainOptions(work_dir=str(folder / 'run'), dry_run=True))
        return 'the module was not imported'


for base in ('evil.py', './sub/../evil.py', '{{$NOT_SET_AT_ALL:evil.py}}', 'ftcls::../../evil.py', 'evil::evil.py'):

    @attack(f'config: _base_ {base} in JSON')
    def _(folder: Path, base: str = base) -> None:
        (folder / 'sub').mkdir()
        (folder / 'evil.py').write_text(code(folder))
        if 'ftcls' in base:
            base = 'ftcls::' + '../' * 30 + str(folder / 'evil.py').lstrip('/')
        check(config(folder, _base_=base))


@attack('config: a Python base behind a YAML base')
def _(folder: Path) -> None:
    (folder / 'evil.py').write_text(code(folder))
    config(folder, 'middle.yaml', _base_='evil.py')
    check(config(folder, _base_='middle.yaml'))


@attack('config: a Python object in YAML')
def _(folder: Path) -> None:
    text = f"_base_: {BASE}\nx: !!python/object/apply:os.system ['touch {folder / MARK}']\n"
    (folder / 'evil.yaml').write_text(text)
    check(folder / 'evil.yaml')


@attack('config: a Python base of a YAML tag')
def _(folder: Path) -> None:
    (folder / 'evil.yml').write_text(f'_base_: !!python/object/apply:eval ["{code(folder)}"]'.replace("'", "\\'"))
    check(folder / 'evil.yml')


@attack('config: a key that ends the text of a dumped config')
def _(folder: Path) -> None:
    cfg = load_config(config(folder, arms={'a': {f"a': {code(folder)}, 'b": 1}}))
    cfg.dump(folder / 'dumped.py')  # as a search writes best.py
    read_config(folder / 'dumped.py')


@attack('search: os.system in a space of JSON')
def _(folder: Path) -> None:
    evil = f"choice([dict(type='os.system', command='touch {folder / MARK}')], [])"
    (folder / 'space.json').write_text(json.dumps({'custom_hooks': evil}))
    check_space(load_config(BASE), read_space([str(folder / 'space.json')]))


# -- data


@attack('data: a pickle among the batches of CIFAR-10')
def _(folder: Path) -> None:
    (folder / 'cifar-10-batches-py').mkdir()
    (folder / 'cifar-10-batches-py' / 'test_batch').write_bytes(pickle.dumps(payload(folder)))
    CIFAR10(data_root=str(folder), split='test', verify=False).full_init()


def _member(kind: bytes = tarfile.REGTYPE, name: str = 'x', link: str = '') -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


MEMBERS: Mapping[str, Callable[[Path], list[tarfile.TarInfo]]] = {
    '../ran': lambda folder: [_member(name='../../ran')],
    'the absolute path of ran': lambda folder: [_member(name=str(folder / MARK))],
    'a symbolic link out of it': lambda folder: [_member(tarfile.SYMTYPE, 'd', str(folder)),
                                                 _member(name=f'd/{MARK}')],
    'a hard link out of it': lambda folder: [_member(tarfile.LNKTYPE, 'd', str(folder / 'outside')),
                                             _member(name='d')],
    'a device': lambda folder: [_member(tarfile.CHRTYPE, 'd')],
}
for what, members in MEMBERS.items():

    @attack(f'data: a tar archive with {what}')
    def _(folder: Path, members: Callable = members) -> None:
        (folder / 'outside').write_text('untouched')
        with tarfile.open(folder / 'evil.tar.gz', 'w:gz') as tar:
            for member in members(folder):
                member.size = 4 if member.isreg() else 0
                tar.addfile(member, io.BytesIO(b'evil'))
        (folder / 'root').mkdir()
        data = CIFAR10(data_root=str(folder / 'root'), split='test', lazy_init=True)
        data.fetch_file = lambda *args: folder / 'evil.tar.gz'
        try:
            data.fetch()
        finally:
            assert (folder / 'outside').read_text() == 'untouched'


@attack('data: a folder whose name ends the docstring of a new config')
def _(folder: Path) -> str:
    root = folder / f'x"""\n{code(folder).replace("/", chr(92) + "x2f")}\n"""'
    for name in ('a', f'b"""\n{MARK}\n'):
        (root / name).mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(folder / 'i.png'), np.full((40, 40, 3), 9 * number, np.uint8))
            (folder / 'i.png').rename(root / name / f'{number}.png')
    new_config(root, folder / 'new.py', 'cifar_resnet20', weights=None)
    return 'the name is text in the config'


def outcome(name: str, folder: Path) -> str:
    """Return how a case ends: what it returns, or the error."""
    sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return str(ATTACKS[name](folder))
    except UserError as err:
        return f'{type(err).__name__}: {err}'.replace('\n', ' ')
    finally:
        sys.path.remove(str(folder))
        imports.allowed = imports.closed = False


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', ATTACKS)
def test_runs_no_code(tmp_path: Path, name: str) -> None:
    text = outcome(name, tmp_path)
    assert not (tmp_path / MARK).exists(), text
    assert text != 'None', 'neither refused nor said to be harmless'


def test_attacks_are_real(tmp_path: Path) -> None:
    """The same objects run where they are read carelessly: the tests above prove something."""
    marks: Iterator[Path] = (tmp_path / str(number) for number in range(4))
    for read in (lambda folder: pickle.loads(pickle.dumps(payload(folder))),
                 lambda folder: yaml.unsafe_load(f"!!python/object/apply:os.system ['touch {folder / MARK}']"),
                 lambda folder: Config.fromstring(f'x = {code(folder)}', '.py'), lambda folder: exec(
                     (folder / f'{module(folder)}.py').read_text())):
        folder = next(marks)
        folder.mkdir()
        read(folder)
        assert (folder / MARK).exists()


def test_allowed_imports_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--allow-imports`` takes a JSON config at its word; a Python config always is."""
    monkeypatch.syspath_prepend(tmp_path)
    name = module(tmp_path)
    allow_imports()
    try:
        load_config(config(tmp_path, custom_imports=dict(imports=[name]), custom_hooks=[dict(type=f'{name}.X')]))
    finally:
        imports.allowed = imports.closed = False
    assert (tmp_path / MARK).exists()


def main() -> None:
    """Print the table."""
    from ftcls.utils.table import render_table
    rows, ran = [], 0
    for name in ATTACKS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                text = outcome(name, Path(folder)).replace(folder, '')
            except Exception as err:
                text = f'NOT A USER ERROR: {type(err).__name__}: {err}'
            hit = (Path(folder) / MARK).exists()
        ran += hit
        rows.append((name, 'YES' if hit else 'no', text[:110]))
    print(render_table(dict.fromkeys(('file', 'code run', 'what happened'), 'left'), rows, width=10_000))
    print(f'\n{len(rows)} malicious files, code run {ran}')


if __name__ == '__main__':
    main()
