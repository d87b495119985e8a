"""What can be wrong with data and weights, and what must then be said."""
import gzip
import os
import pickle
import shutil

import torch
from places import Place, wrong

from ftcls.registry import MODELS

_CIFAR = "dataset=dict(type='CIFAR10', data_root='data', download=False, pipeline=[dict(type='PackInputs')]"
_TRAIN = "dataset=dict(type='CustomDataset', data_root='data', data_prefix='train', pipeline=train_pipeline)"
_BATCHES = [f'data_batch_{i}' for i in range(1, 6)]


class Evil:
    """What runs a command when a careless reader opens the file that it is in."""

    def __reduce__(self) -> tuple:
        return os.system, ('touch pwned', )


def cifar_files(place: Place, content: bytes, more: str = '') -> None:
    """Train on CIFAR-10 whose files all have this content."""
    for name in _BATCHES:
        (place.folder / 'data' / name).write_bytes(content)
    place.edit(_TRAIN, f'{_CIFAR}{more})')


@wrong("train_dataloader.dataset: no folder 'data/trian'", "'train'", 'data_prefix')
def missing_data(place: Place) -> None:
    place.edit("data_prefix='train'", "data_prefix='trian'")


@wrong("no images in 'data/train'", 'no class folders')
def an_empty_folder(place: Place) -> None:
    shutil.rmtree(place.folder / 'data' / 'train')
    (place.folder / 'data' / 'train').mkdir()


@wrong('train_dataloader.dataset: no sample of bee', 'allow_missing_classes=True')
def an_empty_class_folder(place: Place) -> None:
    for path in (place.folder / 'data' / 'train' / 'bee').iterdir():
        path.unlink()


@wrong('val_dataloader.dataset: no sample of bee', 'add samples')
def a_class_missing_in_val(place: Place) -> None:
    shutil.rmtree(place.folder / 'data' / 'val' / 'bee')


@wrong('val_dataloader.dataset: has classes that the training set has not: wasp', 'val_dataloader.dataset.classes')
def a_class_in_val_only(place: Place) -> None:
    shutil.copytree(place.folder / 'data' / 'val' / 'bee', place.folder / 'data' / 'val' / 'wasp')


@wrong("train_dataloader.dataset has no sample of bees (did you mean 'bee'?); correct its `classes`")
def a_misspelt_class(place: Place) -> None:
    place.edit("data_prefix='train'", "data_prefix='train', classes=['ant', 'bees']")


@wrong("train_dataloader.dataset: no sample of bees (did you mean 'bee'?)",
       "val_dataloader.dataset: no sample of bees (did you mean 'bee'?)")
def a_misspelt_class_in_both_splits(place: Place) -> None:
    place.edit("data_root='data'", "data_root='data', classes=['ant', 'bees']")


@wrong('train_dataloader.dataset: no sample of cow', "classes=['ant', 'bee']")
def an_empty_folder_beside_the_classes(place: Place) -> None:
    (place.folder / 'data' / 'train' / 'cow').mkdir()


@wrong('none of the classes', "'ant'", "'Ant'")
def classes_of_other_names(place: Place) -> None:
    place.edit("data_prefix='train'", "data_prefix='train', classes=['Ant', 'Bee']")


@wrong("'train'", "'val'", 'parts of a dataset, not classes', 'set data_prefix to one part')
def a_folder_of_splits(place: Place) -> None:
    place.edit("data_prefix='train', ", '')


@wrong('lists images that do not exist', "'ant/9.png' (line 2)", 'data_prefix')
def a_listed_picture_that_is_not_there(place: Place) -> None:
    (place.folder / 'data' / 'list.txt').write_text('ant/0.png ant\nant/9.png ant\nbee/0.png bee\n')
    place.edit("data_prefix='train'", "data_prefix='train', ann_file='list.txt'")


@wrong("label '5' is no class; allowed are 0 to 1", 'list.txt, line 2')
def a_label_out_of_range(place: Place) -> None:
    (place.folder / 'data' / 'list.txt').write_text('ant/0.png 0\nbee/0.png 5\n')
    place.edit("data_prefix='train'", "data_prefix='train', ann_file='list.txt', classes=['ant', 'bee']")


@wrong('train_dataloader.dataset: 1 of 6 files', 'data/train/ant/0.png is cut off', "on_bad_sample='skip'")
def a_broken_first_picture(place: Place) -> None:
    path = place.folder / 'data' / 'train' / 'ant' / '0.png'
    path.write_bytes(path.read_bytes()[:200])


@wrong('val_dataloader.dataset: sample 0', "'img'", 'LoadImageFromFile')
def a_pipeline_that_loads_nothing(place: Place) -> None:
    place.edit("test_pipeline = [dict(type='LoadImageFromFile'), ",
               "test_pipeline = [dict(type='CenterCrop', crop_size=8), ")


@wrong('train_dataloader.dataset.pipeline', 'PackInputs')
def a_pipeline_that_packs_nothing(place: Place) -> None:
    place.edit("prob=0.5), dict(type='PackInputs')", 'prob=0.5)')


@wrong('crop_size=64x64', 'larger than the image of 12x12')
def a_crop_larger_than_the_pictures(place: Place) -> None:
    place.edit("dict(type='RandomFlip', prob=0.5)", "dict(type='RandomCrop', crop_size=64)")


@wrong("split='trian'", "'train'")
def a_split_that_there_is_not(place: Place) -> None:
    place.edit(_TRAIN, f"{_CIFAR}, split='trian')")


@wrong('data_batch_1', 'not found in', 'cs.toronto.edu', 'download=True')
def missing_cifar_files(place: Place) -> None:
    place.edit(_TRAIN, _CIFAR + ')')


@wrong('data_batch_1 is not the published file of CIFAR10', 'its md5 is', 'verify=False')
def other_cifar_files_than_the_published_ones(place: Place) -> None:
    cifar_files(place, b'not it')


@wrong('data_batch_1 is not a batch of CIFAR images', 'delete it')
def broken_cifar_files(place: Place) -> None:
    cifar_files(place, pickle.dumps(dict(data=b'1' * 3072))[:90], ', verify=False')


@wrong('data_batch_1 is not a batch of CIFAR images', 'system')
def malicious_cifar_files(place: Place) -> None:
    cifar_files(place, pickle.dumps(dict(data=Evil(), labels=[])), ', verify=False')


@wrong('train-images-idx3-ubyte.gz is broken or cut off', 'delete it')
def a_cut_off_mnist_file(place: Place) -> None:
    content = gzip.compress(b'\x00\x00\x08\x03' + os.urandom(400))
    for name in ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz'):
        (place.folder / 'data' / name).write_bytes(content[:200])
    place.edit(_TRAIN, "dataset=dict(type='MNIST', data_root='data', verify=False, pipeline=[dict(type='PackInputs')])")


# ---------------------------------------------------------------------------------------------------------- the weights
@wrong("no checkpoint at 'god.pth'", "did you mean 'good.pth'")
def missing_weights(place: Place) -> None:
    place.pretrained('god.pth')


@wrong("no checkpoint at 'zoo/a.pth'", "'zoo' is missing")
def weights_in_a_missing_folder(place: Place) -> None:
    place.add("load_from = 'zoo/a.pth'")


@wrong('train_dataloader.dataset: ', 'data/trian', "no checkpoint at 'god.pth'", "no checkpoint at 'zoo/a.pth'")
def missing_data_and_missing_weights(place: Place) -> None:
    place.edit("data_prefix='train'", "data_prefix='trian'")
    place.pretrained('god.pth')
    place.add("load_from = 'zoo/a.pth'")


@wrong('cannot reach 127.0.0.1 to download http://127.0.0.1:9/a.pth', 'by hand')
def weights_that_cannot_be_fetched(place: Place) -> None:
    place.pretrained('http://127.0.0.1:9/a.pth')


@wrong('w.pth', '0 bytes', 'empty')
def empty_weights(place: Place) -> None:
    place.pretrained('w.pth', b'')


@wrong('w.pth', 'cut short', 'Fetch or copy it anew')
def truncated_weights(place: Place) -> None:
    place.pretrained('w.pth', (place.folder / 'good.pth').read_bytes()[:50_000])


@wrong('w.pth', 'a web page, not a file of weights')
def a_web_page_for_weights(place: Place) -> None:
    place.pretrained('w.pth', b'<!DOCTYPE html><html><body>Log in</body></html>')


@wrong('w.pth', 'git-lfs pointer', '`git lfs pull`')
def a_git_lfs_pointer_for_weights(place: Place) -> None:
    place.pretrained('w.pth', b'version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 34\n')


@wrong('w.pth', 'system')
def malicious_weights(place: Place) -> None:
    place.pretrained('w.pth', dict(state_dict=place.weights(), hook=Evil()))


@wrong('w.pth', 'system')
def a_malicious_pickle(place: Place) -> None:
    place.pretrained('w.pth', pickle.dumps(Evil()))


@wrong('w.pth', 'system')
def malicious_weights_to_test(place: Place) -> list[str]:
    torch.save(Evil(), place.folder / 'w.pth')
    return ['test', 'config.py', 'w.pth']


@wrong("prefix 'bakbone'", "did you mean 'backbone'", "prefix='backbone' would load 114 of 114")
def a_wrong_prefix(place: Place) -> None:
    place.pretrained('good.pth', prefix='bakbone')


@wrong('w.pth has 1 of 95 tensors of CifarResNet', 'missing', 'allow_partial=True')
def weights_of_another_architecture(place: Place) -> None:
    place.pretrained('w.pth', MODELS.build(dict(type='LeNet5', num_classes=10)).state_dict(), prefix='')


@wrong('w.pth', 'NaN', 'diverged')
def weights_that_are_no_numbers(place: Place) -> None:
    weights = place.weights()
    weights['backbone.conv1.weight'].fill_(float('nan'))
    place.pretrained('w.pth', weights)


@wrong('w.pth', 'holds no weights', 'torch.save(model.state_dict()')
def a_dict_without_weights(place: Place) -> None:
    place.pretrained('w.pth', dict(epoch=3))


@wrong("no checkpoint at 'god.pth'", 'good.pth')
def missing_weights_to_test(place: Place) -> list[str]:
    return ['test', 'config.py', 'god.pth']


@wrong('w.pth lacks weights that the model has', 'head.fc.weight')
def weights_without_a_classifier_to_test(place: Place) -> list[str]:
    torch.save({k: v for k, v in place.weights().items() if k.startswith('backbone')}, place.folder / 'w.pth')
    return ['test', 'config.py', 'w.pth']


@wrong('w.pth lacks weights', 'head.fc.weight', '(5, 64) in the file')
def a_classifier_of_another_size_to_test(place: Place) -> list[str]:
    weights = place.weights()
    weights.update({'head.fc.weight': torch.zeros(5, 64), 'head.fc.bias': torch.zeros(5)})
    torch.save(weights, place.folder / 'w.pth')
    return ['test', 'config.py', 'w.pth']


@wrong('--out result.txt', '.json', '.pkl')
def results_in_a_file_of_another_kind(place: Place) -> list[str]:
    return ['test', 'config.py', 'good.pth', '--out', 'result.txt']


@wrong("out='good.pth/a.json' cannot be written: Not a directory", 'give another --out')
def results_in_a_folder_that_is_a_file(place: Place) -> list[str]:
    return ['test', 'config.py', 'good.pth', '--out', 'good.pth/a.json']


@wrong('test_dataloader: missing', 'add the dataset')
def nothing_to_test_on(place: Place) -> list[str]:
    place.add('test_dataloader = test_cfg = test_evaluator = None')
    return ['test', 'config.py', 'good.pth']


@wrong('w.pth was trained on the classes cat, dog', 'test_dataloader.dataset', "which has 'ant', 'bee'")
def weights_of_other_classes_to_test(place: Place) -> list[str]:
    meta = dict(dataset_meta=dict(classes=['cat', 'dog']))
    torch.save(dict(meta=meta, state_dict=place.weights()), place.folder / 'w.pth')
    return ['test', 'config.py', 'w.pth']
