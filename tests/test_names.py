"""The names that code for MMClassification imports: they are there, and importing them is cheap."""
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

import ftcls
from ftcls.datasets import build_dataset
from ftcls.models import builder
from ftcls.registry import MODELS
from ftcls.utils import register_all_modules

NAMES = {
    'ftcls':
    'get_model list_models inference_model init_model FeatureExtractor ImageClassificationInferencer models '
    'datasets structures registry evaluation engine visualization utils apis',
    'ftcls.apis':
    'get_model init_model inference_model list_models FeatureExtractor ImageClassificationInferencer',
    'ftcls.models':
    'BACKBONES HEADS NECKS LOSSES CLASSIFIERS build_backbone build_head build_neck build_loss '
    'build_classifier ImageClassifier TimmClassifier BaseClassifier ClsHead LinearClsHead ResNet',
    'ftcls.models.backbones.base_backbone':
    'BaseBackbone',
    'ftcls.models.classifiers.base':
    'BaseClassifier',
    'ftcls.models.losses':
    'weight_reduce_loss CrossEntropyLoss LabelSmoothLoss FocalLoss AsymmetricLoss',
    'ftcls.models.builder':
    'BACKBONES build_backbone',
    'ftcls.datasets':
    'build_dataset BaseDataset CustomDataset PackInputs',
    'ftcls.structures':
    'DataSample batch_label_to_onehot cat_batch_labels tensor_split label_to_onehot format_label '
    'format_score',
    'ftcls.registry':
    'RUNNERS RUNNER_CONSTRUCTORS LOOPS HOOKS LOG_PROCESSORS OPTIMIZERS OPTIM_WRAPPERS DATASETS MODELS '
    'OPTIM_WRAPPER_CONSTRUCTORS PARAM_SCHEDULERS DATA_SAMPLERS TRANSFORMS MODEL_WRAPPERS TASK_UTILS '
    'WEIGHT_INITIALIZERS BATCH_AUGMENTS METRICS EVALUATORS VISUALIZERS VISBACKENDS',
    'ftcls.utils':
    'register_all_modules',
}


@pytest.mark.parametrize('module', NAMES)
def test_names(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


def test_the_top_level_names_are_those_of_apis() -> None:
    assert ftcls.get_model is ftcls.apis.get_model
    with pytest.raises(AttributeError, match="no attribute 'get_modle'"):
        ftcls.get_modle  # noqa: B018
    with pytest.raises(ImportError):
        from ftcls import get_modle  # noqa: F401


def test_importing_is_cheap() -> None:
    code = 'import sys, ftcls, ftcls.apis; print(sorted({"torch", "mmengine", "cv2"} & set(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def test_a_training_imports_no_library_that_it_does_not_use(tmp_path: Path) -> None:
    """MMEngine imports ``transformers`` where it is installed; after that it can be imported as ever."""
    (tmp_path / 'transformers.py').write_text('print("imported")\nAdafactor = None')
    code = ('import sys, ftcls.apis.training.train\n'
            'from ftcls.registry import OPTIMIZERS\n'
            'print(OPTIMIZERS.get("Adafactor") is __import__("torch").optim.Adafactor)\n'
            'print(sorted({"peft", "sklearn", "scipy", "matplotlib", "optuna", "timm"} & set(sys.modules)))\n'
            'import transformers')
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])])
    done = subprocess.run([sys.executable, '-c', code],
                          env=dict(os.environ, PYTHONPATH=paths),
                          capture_output=True,
                          text=True,
                          check=True)
    assert done.stdout.split('\n')[:-1] == ['True', '[]', 'imported']


def test_builders() -> None:
    assert builder.BACKBONES is builder.LOSSES is MODELS
    loss = builder.build_loss(dict(type='CrossEntropyLoss', loss_weight=2.0))
    assert loss(torch.zeros(1, 4), torch.tensor([0])).item() == pytest.approx(2 * torch.tensor(4.).log().item())
    assert builder.build_backbone(dict(type='LeNet5')).out_channels == (120, )
    assert builder.build_neck(dict(type='GlobalAveragePooling'))(torch.ones(1, 2, 3, 3)).shape == (1, 2)
    head = builder.build_head(dict(type='LinearClsHead', num_classes=3, in_channels=2))
    assert head.pre_logits((torch.ones(1, 2), )).shape == (1, 2)
    model = builder.build_classifier(dict(type='ImageClassifier', backbone=dict(type='LeNet5', num_classes=10)))
    assert not model.with_neck and not model.with_head
    assert len(build_dataset(dict(type='Digits', pipeline=[dict(type='PackInputs')], indices=3))) == 3


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(
            ftcls.utils.ConfigError, match="'CrossEntropyLos' is not a registered model.*'CrossEntropyLoss'"):
        builder.build_loss(dict(type='CrossEntropyLos'))
    with pytest.raises(ftcls.utils.ConfigError, match="'Digit' is not a registered dataset.*'Digits'"):
        build_dataset(dict(type='Digit'))


def test_register_all_modules() -> None:
    register_all_modules(init_default_scope=False)
    assert DefaultScope.get_current_instance() is None
    DefaultScope.get_instance('other', scope_name='mmengine')
    register_all_modules()
    register_all_modules()
    assert DefaultScope.get_current_instance().scope_name == 'ftcls'


def test_list_models() -> None:
    assert ftcls.list_models('unet', task='Image Segmentation') == ftcls.list_models('unet')
    assert ftcls.ImageClassificationInferencer.list_models('unet') == []
    assert {'augmentation/hymenoptera', 'search/hymenoptera'} <= set(ftcls.list_models())
    assert 'lenet5_mnist' in ftcls.ImageClassificationInferencer.list_models('lenet5')
    assert ftcls.list_models('resnet18', exclude_patterns=['*cifar', '*hotdog']) == ['resnet18_8xb32_in1k']
    assert ftcls.list_models('lenet5', exclude_patterns='*digit*') == ['lenet5_mnist']
    with pytest.raises(ftcls.utils.ConfigError, match="task='image caption'.*Image Segmentation"):
        ftcls.list_models(task='image caption')
