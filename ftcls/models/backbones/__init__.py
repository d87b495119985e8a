"""Backbones: images in, a tuple of feature maps out. One file and one line here make a new one."""
from .base_backbone import BaseBackbone
from .convnext import ConvNeXt
from .densenet import DenseNet
from .efficientnet import EfficientNet, EfficientNetV2
from .families import FamilyBackbone
from .lenet import LeNet5
from .mobilenet import MobileNetV2, MobileNetV3
from .regnet import RegNet
from .resnet import ResNet, ResNetV1c, ResNetV1d, ResNeXt
from .resnet_cifar import CifarResNet, ResNet_CIFAR
from .seresnet import SEResNet, SEResNeXt
from .swin_transformer import SwinTransformer
from .timm_backbone import TIMMBackbone
from .torchvision_backbone import TorchvisionBackbone
from .unet import UNet
from .vgg import VGG
from .vision_transformer import VisionTransformer

__all__ = [
    'BaseBackbone', 'CifarResNet', 'ConvNeXt', 'DenseNet', 'EfficientNet', 'EfficientNetV2', 'FamilyBackbone', 'LeNet5',
    'MobileNetV2', 'MobileNetV3', 'RegNet', 'ResNeXt', 'ResNet', 'ResNetV1c', 'ResNetV1d', 'ResNet_CIFAR', 'SEResNeXt',
    'SEResNet', 'SwinTransformer', 'TIMMBackbone', 'TorchvisionBackbone', 'UNet', 'VisionTransformer', 'VGG'
]
