"""How many of mmpretrain's configs build their model here, and how many pass the check whole.

    python benchmarks/peer_configs.py --configs .../site-packages/mmpretrain/.mim/configs

A model is built on torch's meta device, which takes no memory, else (a class that computes while it is built) on the
CPU; nothing is downloaded. One line per family, then each config that does not build or pass, with its reasons.
"""
import argparse
import copy
import gc
import logging
import warnings
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from ftcls.apis import load_config, validate_config
from ftcls.apis.inference.model_zoo import build_model
from ftcls.utils.tree import walk

FAMILIES = ('lenet', 'resnet', 'resnext', 'seresnet', 'vgg', 'mobilenet_v2', 'mobilenet_v3', 'efficientnet', 'convnext',
            'vision_transformer', 'swin_transformer', 'densenet', 'regnet')


def build_fault(cfg: Config) -> str:
    """Build the model of a config without pretrained weights; return why it cannot be built, '' if it can."""
    cfg = Config(dict(model=copy.deepcopy(cfg.model), data_preprocessor=cfg.get('data_preprocessor')))
    for _, node in walk(cfg.model):
        if isinstance(node, dict):
            node.pop('init_cfg', None)
    fault = ''
    for device in ('meta', 'cpu'):
        try:
            with torch.device(device):
                build_model(cfg)
            return ''
        except Exception as err:
            fault = f'{type(err).__name__}: {err}'
        finally:
            gc.collect()
    return fault


def examine(file: Path) -> tuple[str, list[str]]:
    """Return why the model of a config cannot be built, and the faults of its check."""
    try:
        cfg = load_config(file)
    except Exception as err:
        return str(err), [str(err)]
    faults = []
    try:
        validate_config(cfg)
    except Exception as err:
        faults = [line.strip() for line in str(err).splitlines()[1:]] or [str(err)]
    return build_fault(cfg), faults


def main() -> None:
    """Print the table and the reasons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--configs', required=True, help="mmpretrain's configs")
    parser.add_argument('--families', nargs='+', default=FAMILIES, help='folders in it')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    rows, reasons = [], []
    for family in args.families:
        files = sorted(Path(args.configs, family).glob('*.py'))
        found = {file: examine(file) for file in files}
        rows.append((family, len(files), *(sum(not one[i] for one in found.values()) for i in (0, 1))))
        for file, (fault, faults) in found.items():
            if fault:
                reasons.append(f'- {family}/{file.name} does not build: {" ".join(fault.split())}')
            reasons += [f'- {family}/{file.name} does not pass: {one}' for one in faults]
    rows.append(('all', *(sum(row[i] for row in rows) for i in (1, 2, 3))))
    print('| configs of mmpretrain 1.2.0 | all | build their model | pass load and check |\n| --- | --- | --- | --- |')
    print('\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in rows))
    print('\n' + '\n'.join(reasons))


if __name__ == '__main__':
    main()
