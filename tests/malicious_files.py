"""Malicious weights, lists and data: each leaves a mark if anything in it is run."""
import io
import json
import os
import pickle
import tarfile
import zipfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from mmengine.registry import DefaultScope
from torch import nn

from ftcls.apis import TrainOptions, get_model, load_config, new_config, train, validate_config, wise_ft
from ftcls.datasets import CIFAR10, BaseDataset
from ftcls.registry import DATASETS
from ftcls.utils import UserError
from ftcls.utils.checkpoint.loading import load_pretrained, read_checkpoint
from ftcls.utils.checkpoint.reading import load_from_ftcls, locate_checkpoint

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
    train(
        load_config(BASE, {
            **TINY, 'load_from': str(file)
        }), TrainOptions(work_dir=str(folder / 'from'), dry_run=True))
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


def _new_config(root: Path, name: str) -> None:
    """Write a config for a folder of images."""
    for label in ('a', name):
        (root / label).mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(root / label / 'i.png'), np.full((40, 40, 3), 9 * number, np.uint8))
            (root / label / 'i.png').rename(root / label / f'{number}.png')
    new_config(root, root.parent / 'new.py', 'cifar_resnet20', weights=None)


@attack('data: a folder whose name ends the docstring of a new config')
def _(folder: Path) -> str:
    _new_config(folder / f'x"""\n{code(folder).replace("/", chr(92) + "x2f")}\n"""', f'b"""\n{MARK}\n')
    return 'the name is text in the config'


@attack('data: a folder whose name is a variable of the environment, with code as its default')
def _(folder: Path) -> str:
    run = ','.join(map(str, f'open("{MARK}","w")'.encode()))  # a quote would be escaped, a slash is no name
    before = Path.cwd()
    os.chdir(folder)
    try:
        _new_config(Path(f'{{{{$N:data_root=exec(bytes(({run})).decode()),#|data_root.=.*}}}}').absolute(), 'b')
    finally:
        os.chdir(before)
    return 'the name is text in the config'
