"""A whole network of timm as a classifier, under timm's own names."""
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from ftcls.apis.training.data_checks import check_heads
from ftcls.config.validation import validate_config
from ftcls.models import build_classifier
from ftcls.models.classifiers import TimmClassifier
from ftcls.structures import DataSample
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.loading import load_pretrained

timm = pytest.importorskip('timm')

NAME = 'resnet10t'


def build(**kwargs: object) -> TimmClassifier:
    torch.manual_seed(0)
    return build_classifier(dict(type='TimmClassifier', model_name=NAME, num_classes=5, **kwargs))


@pytest.fixture(scope='module')
def model() -> TimmClassifier:
    return build().eval()


def test_modes(model: TimmClassifier) -> None:
    images = torch.rand(2, 3, 32, 32)
    logits = model(images)
    samples = [DataSample().set_gt_label(i) for i in (0, 3)]
    torch.testing.assert_close(logits, model.model(images))
    torch.testing.assert_close(
        model(images, samples, mode='loss')['loss'], F.cross_entropy(logits, torch.tensor([0, 3])))
    predicted = model(images, samples, mode='predict')
    torch.testing.assert_close(torch.stack([s.pred_score for s in predicted]), logits.softmax(dim=1))
    assert model.extract_feat(images).shape == (2, 512, 1, 1)
    assert model.extract_feats([images])[0].shape == (2, 512, 1, 1)


def test_names_are_those_of_timm(model: TimmClassifier, tmp_path: object) -> None:
    network = timm.create_model(NAME, num_classes=5)
    assert set(model.state_dict()) == set(network.state_dict())
    network.load_state_dict(model.state_dict())
    other = build()
    torch.save(network.state_dict(), tmp_path / 'timm.pth')
    report = load_pretrained(other, tmp_path / 'timm.pth')
    assert len(report.loaded) == report.num_tensors and not report.unexpected
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(other.eval()(images), network.eval()(images))
    other.init_weights()  # starts nothing anew
    torch.testing.assert_close(other.eval()(images), network.eval()(images))


def test_names_inside_another_model(model: TimmClassifier) -> None:
    """As in the average of weights, which has the model under the name ``module``."""
    outer = torch.nn.ModuleDict(dict(module=model))
    state = outer.state_dict()
    assert 'module.conv1.0.weight' in state
    assert outer.load_state_dict(state).missing_keys == []
    assert 'module.conv1.0.weight' in state


def test_frozen_by_name() -> None:
    model = build(freeze='^model.layer1', with_cp=True)
    model.train()
    assert not model.model.layer1.training and model.model.layer2.training
    assert not any(param.requires_grad for param in model.model.layer1.parameters())


@pytest.mark.parametrize('wrong, part', [
    (dict(frozen_stages=1), 'frozen_stages'),
    (dict(backbone=dict(type='ResNet')), 'backbone'),
    (dict(model_name='resnte18'), "did you mean 'resnet18"),
])
def test_what_timm_does_not_take_is_named(wrong: dict, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        build_classifier({**dict(type='TimmClassifier', model_name=NAME), **wrong})


def test_networks_of_transformers_are_refused() -> None:
    model = dict(type='HuggingFaceClassifier', model_name='microsoft/resnet-50', pretrained=True)
    with pytest.raises(ConfigError, match="model.*'HuggingFaceClassifier'.*'TimmClassifier'"):
        validate_config(Config(dict(model=model)))


def test_its_number_of_classes_is_that_of_the_data() -> None:
    cfg = Config(dict(model=dict(type='TimmClassifier', model_name=NAME, num_classes=7)))
    with pytest.raises(ConfigError, match='model.num_classes is 7, but the data has 2 classes'):
        check_heads(cfg, SimpleNamespace(classes=['ant', 'bee'], counts=dict(train=[3, 3]), several={}))
