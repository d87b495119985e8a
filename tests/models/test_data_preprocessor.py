"""ClsDataPreprocessor: channel order, normalising, padding, labels; the slot of batch augmentation."""
import numpy as np
import pytest
import torch
from torchvision.transforms.functional import normalize

from ftcls.models import ClsDataPreprocessor, RandomBatchAugment
from ftcls.registry import BATCH_AUGMENTS, MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def image(height: int = 4, width: int = 6, channels: int = 3, seed: int = 0) -> torch.Tensor:
    gen = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (channels, height, width), generator=gen, dtype=torch.uint8)


def sample(order: str | None = None, label: int | list | None = None) -> DataSample:
    out = DataSample(metainfo={} if order is None else dict(channel_order=order))
    return out if label is None else out.set_gt_label(label)


def rgb(x: torch.Tensor) -> torch.Tensor:
    return normalize(x.float(), MEAN, STD)


@pytest.mark.parametrize('stacked', [True, False])
def test_channel_order(stacked: bool) -> None:
    """The model gets RGB from both kinds of samples, also mixed; without ``to_rgb`` nothing is turned."""
    x = [image(seed=i) for i in range(3)]
    samples = [sample('bgr'), sample('rgb'), sample()]
    data = dict(inputs=torch.stack(x) if stacked else x, data_samples=samples)
    got = ClsDataPreprocessor(MEAN, STD, to_rgb=True)(data)
    assert got['data_samples'] is samples and got['inputs'].dtype == torch.float32
    torch.testing.assert_close(got['inputs'], torch.stack([rgb(x[0].flip(0)), rgb(x[1]), rgb(x[2].flip(0))]))
    got = ClsDataPreprocessor(MEAN, STD, to_rgb=False)(data)['inputs']
    torch.testing.assert_close(got, torch.stack([rgb(y) for y in x]))
    for order in ('bgr', 'rgb'):
        data = dict(inputs=x, data_samples=[sample(order) for _ in x])
        got = ClsDataPreprocessor(to_rgb=True)(data)['inputs']
        assert torch.equal(got, torch.stack([y.flip(0) if order == 'bgr' else y for y in x]).float())
    grey = dict(inputs=[image(channels=1)], data_samples=[sample('bgr')])
    assert torch.equal(ClsDataPreprocessor(to_rgb=True)(grey)['inputs'][0], image(channels=1).float())


def test_no_samples() -> None:
    got = ClsDataPreprocessor(MEAN, STD, to_rgb=True)(dict(inputs=[image()]))
    assert got['data_samples'] is None
    torch.testing.assert_close(got['inputs'][0], rgb(image().flip(0)))


def test_padding() -> None:
    pre = ClsDataPreprocessor(MEAN, STD, pad_size_divisor=4, pad_value=7)
    got = pre(dict(inputs=[image(4, 6), image(5, 2)]))['inputs']
    assert got.shape == (2, 3, 8, 8)
    torch.testing.assert_close(got[0, :, :4, :6], rgb(image(4, 6)))
    torch.testing.assert_close(got[1, :, :5, :2], rgb(image(5, 2)))
    assert (got[0, :, 4:] == 7).all() and (got[1, :, :, 2:] == 7).all()
    got = pre(dict(inputs=image(4, 6)[None]))['inputs']
    assert got.shape == (1, 3, 4, 8) and (got[..., 6:] == 7).all()


def test_labels_as_scores() -> None:
    samples = [sample(label=2), sample(label=[0, 3])]
    ClsDataPreprocessor(to_onehot=True, num_classes=4)(dict(inputs=[image()] * 2, data_samples=samples))
    assert [s.gt_score.tolist() for s in samples] == [[0, 0, 1, 0], [1, 0, 0, 1]]
    assert [s.gt_label.tolist() for s in samples] == [[2], [0, 3]]
    own = DataSample(metainfo=dict(num_classes=3)).set_gt_label(1)
    ClsDataPreprocessor(to_onehot=True)(dict(inputs=[image()], data_samples=[own]))
    assert own.gt_score.tolist() == [0, 1, 0]
    plain = [sample(label=1)]
    ClsDataPreprocessor()(dict(inputs=[image()], data_samples=plain))
    assert 'gt_score' not in plain[0]
    with pytest.raises(ConfigError, match='num_classes'):
        ClsDataPreprocessor(to_onehot=True)(dict(inputs=[image()], data_samples=[sample(label=1)]))
    with pytest.raises(DataError, match=r'\[4\].*num_classes is 4'):
        ClsDataPreprocessor(to_onehot=True, num_classes=4)(dict(inputs=[image()], data_samples=[sample(label=4)]))


def test_not_in_the_state_dict_but_on_the_device() -> None:
    pre = ClsDataPreprocessor(MEAN, STD)
    assert not pre.state_dict() and {n for n, _ in pre.named_buffers()} == {'mean', 'std'}


@pytest.mark.parametrize('args, words', [
    (dict(mean=MEAN), 'give both'),
    (dict(std=STD), 'give both'),
    (dict(mean=MEAN, std=[1., 0., 1.]), 'above 0'),
    (dict(mean=MEAN, std=[1.]), 'one of each per channel'),
    (dict(batch_augments=dict(augment=[])), "'augment'; did you mean 'augments'"),
    (dict(batch_augments=dict(probs=0.5)), 'batch_augments.augments: needs at least one'),
])
def test_wrong_arguments(args: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MODELS.build(dict(type='ClsDataPreprocessor', **args))


def test_wrong_channels() -> None:
    with pytest.raises(DataError, match='1 channels.*3 values'):
        ClsDataPreprocessor(MEAN, STD)(dict(inputs=[image(channels=1)]))


class Swap:
    """A batch augmentation for the tests: each image gets its neighbour's pixels, the label half of both."""

    def __init__(self, share: float = 0.5) -> None:
        self.share = share

    def __call__(self, x: torch.Tensor, score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.flip(0), score * self.share + score.flip(0) * (1 - self.share)


@pytest.fixture
def swap() -> object:
    BATCH_AUGMENTS.register_module(name='Swap', module=Swap, force=True)
    yield
    BATCH_AUGMENTS.module_dict.pop('Swap')


@pytest.mark.usefixtures('swap')
def test_batch_augments() -> None:
    config = dict(augments=[dict(type='Swap', share=0.75)])
    pre = ClsDataPreprocessor(num_classes=3, batch_augments=config)
    assert config == dict(augments=[dict(type='Swap', share=0.75)])
    x = torch.stack([image(seed=0), image(seed=1)])
    samples = [sample(label=0), sample(label=2)]
    assert torch.equal(pre(dict(inputs=x, data_samples=samples), training=True)['inputs'], x.flip(0).float())
    assert [s.gt_score.tolist() for s in samples] == [[0.75, 0, 0.25], [0.25, 0, 0.75]]
    samples = [sample(label=0), sample(label=2)]
    assert torch.equal(pre(dict(inputs=x, data_samples=samples), training=False)['inputs'], x.float())
    with pytest.raises(DataError, match='label of each image'):
        pre(dict(inputs=x, data_samples=[sample(), sample(label=1)]), training=True)


@pytest.mark.usefixtures('swap')
def test_random_batch_augment() -> None:
    np.random.seed(0)
    probs = [0.5, 0.2]
    augment = RandomBatchAugment([dict(type='Swap', share=0.9), Swap(0.6)], probs)
    assert probs == [0.5, 0.2]
    x, score = torch.rand(2, 3, 4, 4), torch.eye(2)
    seen = [round(float(augment(x, score)[1][0, 0]), 3) for _ in range(2000)]
    for value, share in ((0.9, 0.5), (0.6, 0.2), (1.0, 0.3)):
        # standard deviation of the share: sqrt(0.25 / 2000) = 0.011
        assert seen.count(value) / 2000 == pytest.approx(share, abs=0.045)
    assert RandomBatchAugment(dict(type='Swap'))(x, score)[1][0, 0] == 0.5
    assert torch.equal(RandomBatchAugment(Swap(), probs=0.0)(x, score)[0], x)
    assert len(RandomBatchAugment([Swap(), Swap(), Swap()], [0.7, 0.2, 0.1]).augments) == 4
    for args, words in ((dict(augments=[]), 'at least one'), (dict(augments=[Swap()], probs=[0.5, 0.5]),
                                                              'one for each'), (dict(augments=[Swap()],
                                                                                     probs=1.5), 'at most 1')):
        with pytest.raises(ConfigError, match=words):
            RandomBatchAugment(**args)


def test_of_four_channels_the_first_three_are_turned() -> None:
    x = image(channels=4)
    got = ClsDataPreprocessor(to_rgb=True)(dict(inputs=[x, x], data_samples=[sample('bgr'), sample('rgb')]))['inputs']
    assert torch.equal(got[0], x[[2, 1, 0, 3]].float()) and torch.equal(got[1], x.float())
    x = image(channels=6)
    got = ClsDataPreprocessor([1.] * 6, [2.] * 6, to_rgb=True)(dict(inputs=[x], data_samples=[sample('rgb')]))['inputs']
    torch.testing.assert_close(got[0], (x.float() - 1) / 2)
    with pytest.raises(DataError, match='6 channels.*mean has 3 values.*6 values'):
        ClsDataPreprocessor(MEAN, STD)(dict(inputs=[x], data_samples=[sample('rgb')]))
