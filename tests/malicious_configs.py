"""Malicious JSON and YAML configs: each leaves a mark if anything in it is run."""
import json
from collections.abc import Callable
from pathlib import Path

from malicious_files import BASE, MARK, TINY, attack, check, code, config, module

from ftcls.apis import TrainOptions, get_model, load_config, read_space, train
from ftcls.config.reading import read_config
from ftcls.experiments.search_space import check_space

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


@attack('config: custom_imports from a variable of a base')
def _(folder: Path) -> None:
    config(folder, 'base.json', x=dict(imports=[module(folder)]))
    (folder / 'evil.json').write_text('{"_base_": "base.json", "custom_imports": {{_base_.x}}}')
    check(folder / 'evil.json')


@attack('config: a program as the compiler of torch.compile')
def _(folder: Path) -> None:
    (folder / 'cxx').write_text(f'#!/bin/sh\ntouch {folder / MARK}\n')
    (folder / 'cxx').chmod(0o755)
    config(folder, 'base.json', x={'options': {'cpp.cxx': [None, str(folder / 'cxx')]}})
    (folder / 'evil.json').write_text('{"_base_": "base.json", "compile": {{_base_.x}}}')
    check(folder / 'evil.json')


for scope in ('mmengine', 'ftcls.mmengine'):

    @attack(f'config: {scope}.os.system as the backbone, read by get_model')
    def _(folder: Path, scope: str = scope) -> None:
        evil = dict(type=f'{scope}.{SYSTEM}', command=f'touch {folder / MARK}', _delete_=True)
        get_model(config(folder, model=dict(backbone=evil)), device='cpu')


@attack('config: a key that ends the text of a dumped config')
def _(folder: Path) -> None:
    cfg = load_config(config(folder, arms={'a': {f"a': {code(folder)}, 'b": 1}}))
    cfg.dump(folder / 'dumped.py')  # as a search writes best.py
    read_config(folder / 'dumped.py')


@attack('search: os.system in a space of JSON')
def _(folder: Path) -> None:
    evil = f"choice([dict(type='os\\x2esys' 'tem', command='touch {folder / MARK}')], [])"
    (folder / 'space.json').write_text(json.dumps({'custom_hooks': evil}))
    check_space(load_config(BASE), read_space([str(folder / 'space.json')]))
