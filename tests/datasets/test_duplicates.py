"""Images that are there twice, by their bytes, their pixels, or nearly."""
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from torch.utils.data import Subset

from ftcls.datasets import BinarySegDataset, CustomDataset, Digits
from ftcls.datasets.duplicates import Image, compare_images, find_doubles, images_of, look_at, same_content


def noise(seed: int, side: int = 64) -> np.ndarray:
    """A smooth image, as photos are."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.array(PillowImage.fromarray(small).resize((side, side), PillowImage.Resampling.BICUBIC))


def files(folder: Path, **contents: bytes) -> list[Image]:
    """Images of two splits and two classes: the names begin with both (``train_ants_1``)."""
    images = []
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        split, label, _ = name.split('_')
        images.append(Image(name, split, label, folder / name))
    return images


def kinds(images: list[Image]) -> dict:
    pairs = find_doubles(same_content(images))
    return {key: [tuple(image.name for image in pair) for pair in value] for key, value in pairs.items()}


def test_kinds_of_doubles(tmp_path: Path) -> None:
    images = files(tmp_path, train_ants_1=b'a', train_ants_2=b'a', train_bees_1=b'bb', train_bees_2=b'a',
                   val_ants_1=b'bb', val_bees_1=b'bb', val_bees_2=b'c')  # yapf: disable
    assert kinds(images) == {
        ('copy', 'train'): [('train_ants_2', 'train_ants_1')],
        ('conflict', 'train'): [('train_bees_2', 'train_ants_1')],
        ('shared', 'val'): [('val_ants_1', 'train_bees_1'), ('val_bees_1', 'train_bees_1')],
        ('conflict', 'val'): [('val_ants_1', 'train_bees_1')]
    }


@pytest.mark.parametrize('place', [0, 5_000, 12_000, 19_999])
def test_files_of_one_size_that_differ_in_one_byte(tmp_path: Path, place: int) -> None:
    one = bytes(20_000)
    other = one[:place] + b'x' + one[place + 1:]
    assert kinds(files(tmp_path, train_ants_1=one, val_ants_1=other)) == {}
    assert kinds(files(tmp_path, train_ants_1=other, val_ants_1=other)) == {
        ('shared', 'val'): [('val_ants_1', 'train_ants_1')]
    }


def test_only_files_of_equal_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = files(tmp_path, train_ants_1=b'a', train_ants_2=b'aa', val_ants_1=b'aaa')
    monkeypatch.setattr('builtins.open', None)
    assert same_content(images) == []


def test_a_file_that_is_gone_is_no_double(tmp_path: Path) -> None:
    images = files(tmp_path, train_ants_1=b'a', val_ants_1=b'a')
    (tmp_path / 'val_ants_1').unlink()
    assert kinds(images) == {}


def test_images_in_memory() -> None:
    train, val = Digits(split='train'), Digits(split='val')
    assert kinds([image for split, one in dict(train=train, val=val).items()
                  for image, _ in images_of(one, split)]) == {}
    doubled = kinds([image for split in ('train', 'val') for image, _ in images_of(val, split)])
    assert len(doubled['shared', 'val']) == len(val) and len(doubled) == 1


def test_a_subset_has_its_own_images_only() -> None:
    whole = Digits(split='train')
    halves = dict(train=Subset(whole, range(0, 300)), val=Subset(whole, range(300, 600)))
    images = [image for split, half in halves.items() for image, _ in images_of(half, split)]
    assert len(images) == 600 and kinds(images) == {}


def test_links_and_labels_of_folders(tmp_path: Path) -> None:
    for name in ('ants/1.png', 'bees/2.png'):
        (tmp_path / name).parent.mkdir()
        PillowImage.fromarray(noise(int(name[5]))).save(tmp_path / name)
    os.symlink('../bees/2.png', tmp_path / 'ants' / 'link.png')
    images = [image for image, _ in images_of(CustomDataset(data_root=str(tmp_path)), 'train')]
    finding, = compare_images(images, {})
    assert (finding.level, finding.split, len(finding.names)) == ('ERROR', 'train', 1)
    assert 'another label' in finding.text and 'by a link' in finding.names[0] and 'link.png' in finding.names[0]


def test_masks_count_by_their_content(tmp_path: Path) -> None:
    masks = [np.zeros((8, 8), np.uint8) for _ in range(3)]
    masks[2][:2] = masks[0][:4] = masks[1][:4] = 255
    for folder in ('images', 'masks'):
        (tmp_path / folder).mkdir()
    for number, mask in enumerate(masks):
        PillowImage.fromarray(noise(1, 8)).save(tmp_path / 'images' / f'{number}.png')
        PillowImage.fromarray(mask).save(tmp_path / 'masks' / f'{number}_mask.png')
    found = kinds([image for image, _ in images_of(BinarySegDataset(data_root=str(tmp_path)), 'train')])
    names = {key: [Path(pair[0]).name for pair in pairs] for key, pairs in found.items()}
    assert names == {('copy', 'train'): ['1.png'], ('conflict', 'train'): ['2.png']}


def changed(img: np.ndarray, folder: Path, how: str) -> np.ndarray:
    if how == 'jpeg':
        PillowImage.fromarray(img).save(folder / 'again.jpg', quality=75)
        return np.array(PillowImage.open(folder / 'again.jpg'))
    return np.array(PillowImage.fromarray(img).resize((40, 52), PillowImage.Resampling.BOX))


@pytest.mark.parametrize('how', ['jpeg', 'resized'])
def test_the_same_picture_stored_anew(tmp_path: Path, how: str) -> None:
    pixels = [noise(seed) for seed in range(30)]
    pixels.append(changed(pixels[3], tmp_path, how))
    images = [Image(str(n), 'val' if n == 30 else 'train', 'ants', bytes([n])) for n in range(31)]
    finding, = compare_images(images, {image.name: look_at(img) for image, img in zip(images, pixels)})
    assert (finding.level, finding.split, finding.names) == ('WARNING', 'val', ['3 = 30'])
    assert finding.text == 'nearly training images too'


def test_flat_images_do_not_resemble_one_another() -> None:
    images = [Image(str(n), 'train', n, bytes([n])) for n in range(2)]
    flat = [np.full((9, 9, 3), 200, np.uint8), np.full((9, 9, 3), 90, np.uint8)]
    assert compare_images(images, {image.name: look_at(img) for image, img in zip(images, flat)}) == []


@pytest.mark.parametrize('placeholders, found', [(1, ['50']), (20, [])])
def test_a_placeholder_among_photos(placeholders: int, found: list[str]) -> None:
    pixels = [noise(seed) for seed in range(50)]
    for number in range(placeholders):
        pixels.append(np.full((60, 90, 3), 255, np.uint8))
        pixels[-1][20:24, 5 + number:60:3] = 0
    images = [Image(str(n), 'train', 'ants', bytes([n])) for n in range(len(pixels))]
    findings = compare_images(images, {image.name: look_at(img) for image, img in zip(images, pixels)})
    assert [one.names for one in findings if 'colour' in one.text] == ([found] if found else [])


def test_real_images_give_no_false_alarm(real_data: Path) -> None:
    """The two photos of glass that are also in plastic are true, and so is hymenoptera's GIF."""
    cv2 = pytest.importorskip('cv2')
    expected = dict(trashnet=['another label'], hymenoptera=['one colour'])
    for name, prefix in dict(trashnet='', hymenoptera='train').items():
        dataset = CustomDataset(data_root=str(real_data / name), data_prefix=prefix)
        images = [image for image, _ in images_of(dataset, 'train')]
        small = {image.name: cv2.imread(image.name, cv2.IMREAD_REDUCED_COLOR_4) for image in images}
        findings = compare_images(images, {name: look_at(img) for name, img in small.items() if img is not None})
        assert len(findings) == 1 and expected[name][0] in findings[0].text, findings
        if name == 'trashnet':
            assert [sorted(Path(path).name for path in pair.split(' = '))
                    for pair in findings[0].names] == [['glass176.jpg', 'plastic152.jpg'],
                                                       ['glass389.jpg', 'plastic332.jpg']]
        else:
            assert [Path(path).name for path in findings[0].names] == ['imageNotFound.gif']


def test_copies_in_another_folder(tmp_path: Path) -> None:
    for split, names in dict(train=('ants/1.png', 'bees/2.png'), val=('bees/3.png', )).items():
        for name in names:
            (tmp_path / split / name).parent.mkdir(parents=True)
            PillowImage.fromarray(noise(int(name[5]))).save(tmp_path / split / name)
    shutil.copy(tmp_path / 'train/bees/2.png', tmp_path / 'val/bees/9.png')
    sets = {
        split: CustomDataset(data_root=str(tmp_path), data_prefix=split, classes=['ants', 'bees'])
        for split in ('train', 'val')
    }
    found = kinds([image for split, one in sets.items() for image, _ in images_of(one, split)])
    assert list(found) == [('shared', 'val')] and found['shared', 'val'][0][0].endswith('val/bees/9.png')
