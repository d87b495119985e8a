"""A device that is not there."""
import pytest
import torch

from ftcls.apis import get_model
from ftcls.utils import ConfigError


@pytest.mark.parametrize('device', ['gpu', 'cuda:77'])
def test_device_that_is_not_there(device: str) -> None:
    with pytest.raises(ConfigError, match=f'--device {device}.*--device cpu'):
        get_model('lenet5_pretrain_digits', device=device)


def test_cuda_on_a_machine_without(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip('needs a machine without GPU')
    with pytest.raises(ConfigError, match='--device cuda.*--device cpu'):
        get_model('lenet5_pretrain_digits', device='cuda')
