"""The benchmarks work: each starts, has its block in docs/performance.md if it writes one, and measures with `--quick`."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path for path in (ROOT / 'benchmarks').glob('*.py') if path.stem != 'side_by_side')
# class_recall reads what a comparison wrote, see docs/small_data.md; kills and peer_configs have tests of their own
MEASURING = [path for path in SCRIPTS if path.stem not in ('class_recall', 'kills', 'peer_configs')]
NEEDS = {
    'choose_rates': [
        '--out-dir', '{tmp}', '--cfg-options', 'train_dataloader.dataset.data_root={data}/hymenoptera',
        'val_dataloader.dataset.data_root={data}/hymenoptera', 'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0'
    ],
    'label_errors': [
        '--out-dir', '{tmp}', '--cfg-options', 'train_dataloader.dataset.data_root={data}/trashnet',
        'val_dataloader.dataset.data_root={data}/trashnet',
        'model.backbone.init_cfg.checkpoint={data}/tf_efficientnet_lite0-57934424.safetensors'
    ]
}


def _run(*command: str) -> str:
    done = subprocess.run([sys.executable, *command],
                          cwd=ROOT,
                          capture_output=True,
                          text=True,
                          timeout=300,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.stem)
def test_block_is_in_the_page(script: Path) -> None:
    page = (ROOT / 'docs' / 'performance.md').read_text(encoding='utf-8')
    text = script.read_text(encoding='utf-8')
    for name in re.findall(r"^ +(?:side_by_side\.)?main\(\s*'(\w+)'", text, flags=re.M):
        assert f'<!-- bench:{name} -->\n' in page and f'<!-- /bench:{name} -->' in page


@pytest.mark.slow
@pytest.mark.parametrize('script', MEASURING, ids=lambda path: path.stem)
def test_quick_measurement(script: Path, real_data: Path, tmp_path: Path) -> None:
    extra = [word.format(tmp=tmp_path, data=real_data) for word in NEEDS.get(script.stem, [])]
    assert re.search(r'\d', _run(str(script), '--quick', *extra))


@pytest.mark.slow
def test_configs_are_counted() -> None:
    table = _run('benchmarks/peer_configs.py', '--configs', 'configs', '--families', 'lenet')
    assert '| lenet | 1 | 1 | 1 |\n| all | 1 | 1 | 1 |' in table
