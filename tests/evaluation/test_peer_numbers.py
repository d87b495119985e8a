"""Losses and metrics give what mmpretrain's of the same name give; where ours differ on purpose, by how much."""
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import peer_numbers
import pytest
import torch

from ftcls.evaluation import AveragePrecision

PEERS = os.environ.get('FTCLS_PEERS')


@pytest.mark.slow
@pytest.mark.skipif(not PEERS, reason='FTCLS_PEERS does not name the Python of an environment with mmpretrain')
def test_numbers_are_mmpretrains() -> None:
    script = Path(peer_numbers.__file__)
    done = subprocess.run([PEERS, script, 'mmpretrain'], cwd=script.parent, capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = peer_numbers.numbers('ftcls')
    assert ours.keys() == theirs.keys() and len(ours) > 2000
    for case, wanted in theirs.items():
        assert np.allclose(ours[case], wanted, rtol=2e-5, atol=1e-5), case


def test_a_class_without_positives_does_not_lower_the_mean() -> None:
    """mmpretrain's own example gives 70.83, with 0 for the last class, which no image has."""
    score = torch.tensor([[.9, .8, .3, .2], [.1, .2, .2, .1], [.7, .5, .9, .3], [.8, .1, .1, .2]])
    truth = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]])
    assert AveragePrecision.calculate(score, truth).item() == pytest.approx(94.44, abs=0.01)
    classwise = AveragePrecision.calculate(score, truth, average=None)
    assert classwise.mean().item() == pytest.approx(70.83, abs=0.01)
