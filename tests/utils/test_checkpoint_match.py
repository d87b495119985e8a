"""Finding the weights, fitting their names, the report and the stop."""
import logging
from collections import OrderedDict

import pytest
import torch
import torchvision
from torch import nn

from ftcls.models.backbones import CifarResNet, ResNet
from ftcls.utils.checkpoint.loading import check_finite, find_state_dict, load_pretrained, match_state_dict
from ftcls.utils.checkpoint.report import LoadReport, fold_names
from ftcls.utils.errors import CheckpointError


def resnet(**kwargs) -> nn.Module:
    return torchvision.models.resnet18(**kwargs)


class Backbone(nn.Module):
    """A ResNet-18 without its classifier, the keys otherwise torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        for name, child in resnet().named_children():
            if name != 'fc':
                self.add_module(name, child)


class Classifier(nn.Module):
    """The keys of an ImageClassifier: ``backbone.*`` and ``head.fc.*``."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Module()
        self.head.fc = nn.Linear(512, num_classes)


@pytest.fixture(scope='module')
def source() -> OrderedDict:
    torch.manual_seed(0)
    return resnet().state_dict()


def prefixed(state: dict, prefix: str) -> OrderedDict:
    return OrderedDict((prefix + k, v) for k, v in state.items())


def saved(tmp_path, content: dict) -> str:
    torch.save(content, tmp_path / 'w.pth')
    return str(tmp_path / 'w.pth')


@pytest.mark.parametrize('wrap, path', [
    (lambda s: s, ''),
    (lambda s: {'state_dict': s, 'epoch': 1}, 'state_dict'),
    (lambda s: {'model': s, 'optimizer': {'state': {0: {'x': torch.zeros(1)}}}}, 'model'),
    (lambda s: {'model': {'state_dict': s}}, 'model.state_dict'),
    (lambda s: {'params': s, 'ema': {'x': torch.zeros(1)}}, 'params'),
    (lambda s: {'state_dict': {}, 'ema': s}, 'ema'),
    (lambda s: {'student': s, 'epoch': torch.tensor(3).item()}, 'student'),
])  # yapf: disable
def test_containers(wrap, path):
    state = {'a.weight': torch.zeros(2), 'a.bias': torch.ones(1)}
    found, where = find_state_dict(wrap(state))
    assert where == path and found.keys() == state.keys()


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'module.module.', 'module._orig_mod.model.'])
def test_wrappers_on_all_keys_are_taken_off(prefix):
    checkpoint = {'state_dict': {f'{prefix}a.weight': torch.zeros(1), f'{prefix}b': nn.Parameter(torch.ones(1))}}
    before = dict(checkpoint['state_dict'])
    ours = {'a.weight': torch.ones(1), 'b': torch.zeros(1)}
    state, report = match_state_dict(find_state_dict(checkpoint)[0], ours)
    assert list(state) == ['a.weight', 'b'] and not state['b'].requires_grad and report.strip == prefix
    assert checkpoint['state_dict'] == before


def test_wrappers_on_some_keys_stay():
    state = {'module.a': torch.zeros(1), 'b': torch.zeros(1)}
    assert list(match_state_dict(state, state)[0]) == ['module.a', 'b']


def test_no_weights_or_too_many():
    with pytest.raises(CheckpointError, match="no weights under.*its keys: epoch"):
        find_state_dict({'epoch': 1})
    with pytest.raises(CheckpointError, match='teacher'):
        find_state_dict({'student': {'a': torch.zeros(1)}, 'teacher': {'a': torch.zeros(1)}})


@pytest.mark.parametrize('before, module, strip, add', [
    ('', resnet, '', ''),
    ('module.', resnet, 'module.', ''),
    ('backbone.', Backbone, 'backbone.', ''),
    ('module.backbone.', Backbone, 'module.backbone.', ''),
    ('', Classifier, '', 'backbone.'),
    ('module.', Classifier, 'module.', 'backbone.'),
    ('encoder.q.', Classifier, 'encoder.q.', 'backbone.'),
])  # yapf: disable
def test_prefix_is_found(source, before, module, strip, add):
    state = prefixed(source, before)
    module = module()
    matched, report = match_state_dict(state, module)
    assert (report.strip, report.add) == (strip, add)
    assert not report.missing and not report.mismatched and not report.unexpected and report.fraction == 1
    for name, tensor in matched.items():
        assert module.state_dict()[name].shape == tensor.shape
    assert torch.equal(matched[add + 'layer4.1.conv2.weight'], source['layer4.1.conv2.weight'])
    if 'head.fc.weight' in module.state_dict():
        assert torch.equal(matched['head.fc.weight'], source['fc.weight']) and report.complete


@pytest.mark.parametrize('theirs', ['fc', 'linear', 'classifier', 'head', 'head.fc', 'heads.head'])
def test_classifier_under_any_name(source, theirs):
    state = OrderedDict((k.replace('fc.', theirs + '.'), v) for k, v in source.items())
    matched, report = match_state_dict(prefixed(state, 'module.'), Classifier())
    assert torch.equal(matched['head.fc.bias'], source['fc.bias']) and report.complete and not report.expected


def test_classifier_of_another_size_is_expected(source):
    for module, name in ((Classifier(10), 'head.fc.weight'), (resnet(num_classes=10), 'fc.weight')):
        matched, report = match_state_dict(source, module)
        assert name not in matched and not report.mismatched and not report.missing and not report.complete
        assert 'another size' in report.expected[name] and '(1000, 512) in the file' in report.expected[name]
        assert report.fraction == 1 and 'as expected' in report.summary()


def test_classifier_on_one_side_only_is_expected(source):
    _, report = match_state_dict(source, Backbone())
    assert set(report.expected) == {'fc.weight', 'fc.bias'} and report.complete
    _, report = match_state_dict({k: v for k, v in source.items() if not k.startswith('fc')}, Classifier())
    assert set(report.expected) == {'head.fc.weight', 'head.fc.bias'} and not report.complete


def test_head_alone_must_be_found(source):
    head = nn.Module()
    head.fc = nn.Linear(512, 10)
    _, report = match_state_dict(prefixed(source, 'head.'), head, prefix='head')
    assert set(report.mismatched) == {'fc.weight', 'fc.bias'} and report.fraction == 0


@pytest.mark.parametrize('prefix', ['backbone', 'backbone.'])
@pytest.mark.parametrize('before', ['', 'module.'])
def test_prefix_given(source, prefix, before):
    state = {**prefixed(source, before + 'backbone.'), before + 'head.fc.weight': torch.zeros(3, 3)}
    matched, report = match_state_dict(state, Backbone(), prefix)
    assert report.strip == before + 'backbone.' and report.fraction == 1
    assert torch.equal(matched['conv1.weight'], source['conv1.weight'])


def test_prefix_that_no_key_has(source):
    state = {**prefixed(source, 'backbone.'), 'head.fc.weight': torch.zeros(3, 3)}
    with pytest.raises(CheckpointError) as err:
        match_state_dict(state, Backbone(), 'bakbone')
    text = str(err.value)
    assert "'bakbone'" in text and 'backbone, head' in text and "did you mean 'backbone'" in text
    assert "prefix='backbone' would load 120 of 120" in text
    with pytest.raises(CheckpointError, match='prefix=None would load 120 of 120'):
        match_state_dict(source, Backbone(), 'backbone')


def test_num_batches_tracked_is_harmless(source):
    state = {k: v for k, v in source.items() if not k.endswith('num_batches_tracked')}
    _, report = match_state_dict(state, resnet())
    assert not report.missing and report.fraction == 1 and report.complete
    assert '102 of 102 tensors loaded' in report.summary(), 'nothing seems to lack'


def test_fold_names():
    assert fold_names([f'layer4.{i}.w' for i in range(12)] + ['fc.bias']) == 'layer4.* (12), fc.bias'
    assert fold_names(['backbone.layer1.0.w', 'backbone.layer1.1.w']) == 'backbone.layer1.* (2)'
    assert fold_names([f'{c}.x' for c in 'abcdefgh'], most=6).endswith('and 2 more')


class TestLoadPretrained:
    """Loading in place."""

    def test_loads_and_reports(self, tmp_path, source):
        model = Classifier(10)
        head = model.head.fc.weight.clone()
        report = load_pretrained(model, saved(tmp_path, {'model': prefixed(source, 'module.')}))
        assert model.load_report is report and isinstance(report, LoadReport)
        state = model.backbone.state_dict()
        assert all(torch.equal(state[k], source[k]) for k in state)
        assert torch.equal(model.head.fc.weight, head)
        assert report.container == 'model' and report.num_tensors == 122 and len(report.loaded) == 120
        assert report.num_loaded_params == sum(v.numel() for v in state.values())
        assert "'module.*' -> 'backbone.*'" in report.summary(
        ) and 'loaded      backbone.conv1.weight' in report.details()

    def test_outputs_equal_torchvisions(self, tmp_path, source):
        model, reference = resnet(), resnet()
        reference.load_state_dict(source)
        load_pretrained(model, saved(tmp_path, source))
        image = torch.randn(1, 3, 32, 32)
        assert torch.equal(model.eval()(image), reference.eval()(image))

    def test_wrapped_module(self, tmp_path, source):
        from mmengine.model import MMDistributedDataParallel  # noqa: F401 - registers the wrappers
        from mmengine.registry import MODEL_WRAPPERS

        class Wrapper(nn.Module):

            def __init__(self, module):
                super().__init__()
                self.module = module

        MODEL_WRAPPERS.register_module(name='TestWrapper', module=Wrapper, force=True)
        try:
            model = Wrapper(resnet())
            load_pretrained(model, saved(tmp_path, source))
            assert torch.equal(model.module.conv1.weight, source['conv1.weight']) and model.module.load_report.complete
        finally:
            MODEL_WRAPPERS.module_dict.pop('TestWrapper')

    def test_half_precision(self, tmp_path, source):
        half = {k: v.half() if v.is_floating_point() else v for k, v in source.items()}
        model = resnet()
        report = load_pretrained(model, saved(tmp_path, half))
        assert model.conv1.weight.dtype == torch.float32 and report.casts == {'float16 -> float32': 102}
        assert torch.equal(model.conv1.weight, source['conv1.weight'].half().float())
        assert 'float16 -> float32 (102 tensors)' in report.summary()

    def test_stops_where_nothing_fits(self, tmp_path, source):
        model = resnet()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        path = saved(tmp_path, {f'enc.blk{i}.kernel': torch.zeros(3, 3) for i in range(9)})
        with pytest.raises(CheckpointError) as err:
            load_pretrained(model, path)
        text = str(err.value)
        for part in ('0 of 100', path, 'allow_partial=True', 'enc.blk0.kernel', 'conv1.weight', 'layer4.* (25)'):
            assert part in text
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        assert not hasattr(model, 'load_report')

    def test_wrong_prefix_names_the_one_that_works(self, tmp_path, source):
        state = {**prefixed(source, 'backbone.'), 'head.0.weight': torch.zeros(2)}
        with pytest.raises(CheckpointError, match="prefix='backbone' would load 100 of 100"):
            load_pretrained(Backbone(), saved(tmp_path, state), prefix='head')

    def test_partial(self, tmp_path, source):
        state = {k: v for k, v in source.items() if not k.startswith('layer4')}
        path = saved(tmp_path, state)
        with pytest.raises(CheckpointError, match='75 of 100'):
            load_pretrained(resnet(), path)
        model = resnet()
        report = load_pretrained(model, path, allow_partial=True)
        assert len(report.missing) == 25 and torch.equal(model.conv1.weight, source['conv1.weight'])
        assert not load_pretrained(resnet(), path, min_loaded=0.7).complete

    def test_another_architecture_shows_the_shapes(self, tmp_path):
        wide = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [2, 2, 2, 2], width_per_group=32)
        other = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [2, 2, 2, 2])
        with pytest.raises(CheckpointError, match=r'of another shape \(\d+\).*\(32, 64, 1, 1\) in the file'):
            load_pretrained(other, saved(tmp_path, wide.state_dict()))

    @pytest.mark.parametrize('bad', [float('nan'), float('inf')])
    def test_not_finite(self, tmp_path, source, bad):
        state = OrderedDict((k, v.clone()) for k, v in source.items())
        state['layer2.0.conv1.weight'][0, 0, 0, 0] = bad
        path = saved(tmp_path, state)
        with pytest.raises(CheckpointError, match='are NaN or infinite.*layer2.0.conv1.weight'):
            load_pretrained(resnet(), path)
        load_pretrained(resnet(), path, allow_partial=True)

    def test_log(self, tmp_path, source, log_records):
        load_pretrained(resnet(), saved(tmp_path, source))
        assert [level for level, _ in log_records] == [logging.INFO, logging.DEBUG]
        assert '122 of 122 tensors' in log_records[0][1] and 'loaded      layer1.0.conv1.weight' in log_records[1][1]


def test_check_finite_skips_integers():
    check_finite({'n': torch.tensor(3)}, 'x')


class TestLeftOver:
    """What a file has beyond the network that it is loaded into."""

    WAY_ON = r'allow_partial=True'

    @pytest.mark.parametrize('theirs, ours, left, of', [(32, 20, 60, 155), (110, 56, 270, 545)])
    def test_a_deeper_network_stops(self, tmp_path, theirs, ours, left, of):
        path = saved(tmp_path, CifarResNet(theirs).state_dict())
        model = CifarResNet(ours)
        with pytest.raises(CheckpointError, match=self.WAY_ON) as err:
            load_pretrained(model, path)
        text = str(err.value)
        assert f'{left} of {of} tensors' in text and 'another network' in text and path in text
        assert f'layer1.* ({left // 3})' in text and not hasattr(model, 'load_report')

    def test_allowed_it_warns(self, tmp_path, log_records):
        model = CifarResNet(20)
        report = load_pretrained(model, saved(tmp_path, CifarResNet(32).state_dict()), allow_partial=True)
        assert report.complete and len(report.left_over) == 60 and report.left_over_share == pytest.approx(60 / 155)
        warning, = [text for level, text in log_records if level == logging.WARNING]
        assert '60 of 155' in warning and '(39%)' in warning and 'layer1.3.conv1.weight' in warning

    @pytest.mark.parametrize('before', ['', 'module.', 'backbone.', 'module.backbone.'])
    def test_under_any_prefix(self, before):
        deep = {**prefixed(CifarResNet(32).state_dict(), before), 'head.fc.weight': torch.zeros(10, 64)}
        for model in (CifarResNet(20), nn.ModuleDict(dict(backbone=CifarResNet(20)))):
            _, report = match_state_dict(deep, model)
            assert len(report.left_over) == 60 and report.part_size == 155

    def test_a_little_more_only_warns(self, tmp_path, log_records):
        more = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [2, 2, 2, 3]).state_dict()
        report = load_pretrained(Classifier(), saved(tmp_path, more))
        assert report.complete and len(report.left_over) == 10 and report.part_size == 110
        assert ['(for example layer4.2.conv1.weight)' in text for level, text in log_records if level > 20] == [True]

    def test_an_adapter_is_never_left_out_silently(self, tmp_path):
        more = {**CifarResNet(20).state_dict(), 'layer1.0.conv1.lora_A.default.weight': torch.zeros(4)}
        with pytest.raises(CheckpointError, match=r'1 of .*lora_A.*set model\.adapter.*merge_adapter'):
            load_pretrained(CifarResNet(20), saved(tmp_path, more))

    def test_deeper_transformer(self):
        vit = dict(image_size=32, patch_size=16, num_heads=2, hidden_dim=8, mlp_dim=8)
        deep, model = (torchvision.models.VisionTransformer(num_layers=n, **vit) for n in (4, 2))
        _, report = match_state_dict(deep.state_dict(), model)
        assert len(report.left_over) == 24 and report.left_over_share > 0.25

    @pytest.mark.parametrize('module, wrap', [
        (lambda: ResNet(18, num_stages=3, out_indices=(2, )), lambda s: s),
        (lambda: nn.ModuleDict(dict(backbone=ResNet(18, num_stages=3, out_indices=(2, )))),
         lambda s: {**prefixed(s, 'backbone.'), 'head.fc.weight': torch.zeros(10, 512)}),
        (lambda: ResNet(18, out_indices=(0, 1)), lambda s: s),
        (lambda: ResNet(18), lambda s: {**s, 'head.fc.weight': torch.zeros(9, 512), 'fc.bias': torch.zeros(9)}),
        (Classifier, lambda s: {**prefixed(s, 'backbone.'), 'neck.p': torch.ones(1), 'neck.proj.weight': torch.ones(9, 9),
                                'teacher.backbone.layer1.9.conv.weight': torch.zeros(2, 2),
                                'ema_backbone_conv1_weight': torch.zeros(2)}),
        (lambda: ResNet(18), lambda s: {**s, 'layer1.0.steps': torch.tensor(3)}),
    ], ids=['truncated', 'truncated classifier', 'out_indices', 'heads', 'neck, teacher, ema', 'counters'])  # yapf: disable
    def test_what_is_left_out_on_purpose(self, module, wrap):
        state = {k: v for k, v in resnet().state_dict().items() if not k.startswith('fc')}
        _, report = match_state_dict(wrap(state), module())
        assert report.fraction == 1 and report.left_over == []

    def test_biases_left_out_stop(self, tmp_path):
        theirs, ours = (
            nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)) for bias in (1, 0))
        path = saved(tmp_path, theirs.state_dict())
        with pytest.raises(
                CheckpointError, match=r'1 tensors belong to layers .* 0.bias.*conv_bias=True.*allow_partial'):
            load_pretrained(ours, path)
        assert load_pretrained(ours, path, allow_partial=True).half_loaded == ['0.bias']

    def test_end_of_the_trunk(self):
        state = torchvision.models.efficientnet_b0().state_dict()
        short = torchvision.models.efficientnet_b0()
        short.features = short.features[:5]
        _, report = match_state_dict(state, short)
        assert report.fraction == 1 and report.unexpected and report.left_over == []
