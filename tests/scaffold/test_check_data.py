"""tools/check_data.py: what it finds in folders and configs, and its exit code."""
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset

from ftcls.apis import check_data
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of noise in train and val."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in ('ants', 'bees'):
            (tmp_path / 'data' / split / name).mkdir(parents=True)
            for i in range(4):
                img = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
                img.resize((40, 30)).save(tmp_path / 'data' / split / name / f'{i}.png')
    return tmp_path / 'data'


def found(target: Path) -> list[tuple[str, str, int]]:
    return [(one.level, one.split, len(one.names)) for one in check_data(target).findings]


def test_tidy_folder_and_config(folder: Path) -> None:
    checked = check_data(folder)
    assert not checked.findings and not checked.has_errors
    assert checked.describe() == 'train 8 samples, val 8 samples: nothing found'
    digits = check_data(CONFIGS / 'tutorial' / 'lenet5_pretrain_digits.py')
    assert not digits.findings and set(digits.sizes) == {'train', 'val', 'test'}


def test_what_is_found(folder: Path) -> None:
    shutil.copy(folder / 'train/ants/0.png', folder / 'val/bees/7.png')
    Image.open(folder / 'train/bees/1.png').resize((80, 60)).save(folder / 'val/bees/8.png')
    (folder / 'train/ants/3.png').write_bytes((folder / 'train/ants/3.png').read_bytes()[:600])
    checked = check_data(folder)
    assert checked.has_errors
    assert [(one.level, one.split, one.text)
            for one in checked.findings] == [('ERROR', 'train', 'cannot be read'),
                                             ('ERROR', 'val', 'training images too'),
                                             ('ERROR', 'val', 'there again with another label or mask'),
                                             ('WARNING', 'val', 'nearly training images too')]
    text = checked.describe()
    for name in ('train/ants/3.png', 'train/ants/0.png', 'val/bees/7.png', 'val/bees/8.png'):
        assert name in text.replace('\n', '')


def test_a_split_that_cannot_be_built_is_an_error_beside_the_others(folder: Path) -> None:
    shutil.rmtree(folder / 'val/ants')
    shutil.rmtree(folder / 'val/bees')
    shutil.copy(folder / 'train/ants/0.png', folder / 'train/bees/7.png')
    assert found(folder) == [('ERROR', 'val', 1), ('ERROR', 'train', 1)]


def test_classes_that_only_one_split_has(folder: Path) -> None:
    (folder / 'val/ants').rename(folder / 'val/wasps')
    assert found(folder) == [('WARNING', 'val', 1), ('WARNING', 'val', 1)]


def test_images_and_masks(tmp_path: Path) -> None:
    for number in range(2):
        for path, pixels in ((f'images/{number}.png', np.arange(192).reshape(8, 8, 3)), (f'masks/{number}_mask.png',
                                                                                         np.eye(8) * 255)):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / path)
    assert found(tmp_path) == [('note', 'train', 1)]


def test_images_of_16_bits_are_read_in_their_range(folder: Path) -> None:
    rng = np.random.default_rng(1)
    for path in folder.rglob('*.png'):
        Image.fromarray(rng.integers(0, 4096, (20, 20), dtype=np.uint16)).save(path)
    assert not check_data(folder).findings


class Foreign(Dataset):
    """Knows nothing of its samples."""

    def __len__(self) -> int:
        return 4


def test_a_foreign_dataset_is_said_not_to_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / 'c.py').write_text('train_dataloader = dict(batch_size=2, dataset=dict(type="CheckedForeign"))\n')
    DATASETS.register_module(name='CheckedForeign', module=Foreign, force=True)
    finding, = check_data(tmp_path / 'c.py').findings
    assert finding.level == 'note' and 'CheckedForeign' not in finding.text and 'get_data_info' in finding.text


def test_broken_images_are_not_compared(folder: Path) -> None:
    for path in folder.rglob('train/*/*.png'):
        path.write_bytes(b'x')
    assert found(folder) == [('ERROR', 'train', 8)]


def test_a_config_without_data(tmp_path: Path) -> None:
    (tmp_path / 'c.py').write_text('model = dict()\n')
    with pytest.raises(ConfigError, match='train_dataloader'):
        check_data(tmp_path / 'c.py')


def test_the_tool_exits_with_1_on_errors(folder: Path, run_tool) -> None:
    shutil.copy(folder / 'train/ants/0.png', folder / 'train/bees/7.png')
    done = run_tool('check_data.py', folder)
    assert done.returncode == 1 and not done.stderr
    assert 'ERROR' in done.stdout and 'bees/7.png' in done.stdout


def test_overrides_of_the_tool_add_up(run_tool) -> None:
    fewer = [f'{split}_dataloader.dataset.indices={count}' for split, count in (('train', 20), ('val', 10))]
    config = CONFIGS / 'tutorial' / 'lenet5_pretrain_digits.py'
    done = run_tool('check_data.py', config, '--cfg-options', fewer[0], '--cfg-options', fewer[1])
    assert done.stdout.startswith('train 20 samples, val 10 samples'), done.stdout + done.stderr
