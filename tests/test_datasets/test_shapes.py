"""The data set of the demo: reproducible, consistent in both formats, and not trivial."""

import hashlib
import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from demo.dataset import DatasetExistsError, generate
from demo.scenes import CLASSES, MIN_VISIBLE, PALETTE, render_scene

COMMAND = Path(__file__).resolve().parents[2] / 'tools' / 'dataset_converters' / 'shapes.py'
COUNTS = {'train': 16, 'val': 4}
ARGUMENTS = {'seed': 3, 'num_train': 16, 'num_val': 4, 'size': 96}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return generate(tmp_path_factory.mktemp('data') / 'shapes', **ARGUMENTS)


@pytest.fixture(scope='module')
def coco(root):
    return COCO(str(root / 'annotations' / 'instances_train.json'))


def digests(folder):
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def test_same_arguments_give_the_same_bytes(root, tmp_path):
    assert digests(generate(tmp_path / 'again', **ARGUMENTS)) == digests(root)


def test_a_scene_does_not_depend_on_how_many_there_are(root, tmp_path):
    fewer = digests(generate(tmp_path / 'fewer', **{**ARGUMENTS, 'num_train': 5}))
    name = 'JPEGImages/train_000004.jpg'
    assert fewer[name] == digests(root)[name]


def test_another_seed_gives_other_scenes(root, tmp_path):
    other = digests(generate(tmp_path / 'other', **{**ARGUMENTS, 'seed': 4}))
    images = [name for name in other if name.startswith('JPEGImages')]
    assert all(other[name] != digest for name, digest in digests(root).items() if name in images)


def test_training_and_validation_scenes_differ(root):
    images = {name: d for name, d in digests(root).items() if name.startswith('JPEGImages')}
    assert len(set(images.values())) == len(images) == sum(COUNTS.values())


@pytest.mark.parametrize('subset', COUNTS)
def test_both_formats_list_the_same_existing_images(root, subset):
    annotations = COCO(str(root / 'annotations' / f'instances_{subset}.json'))
    names = (root / 'ImageSets' / 'Segmentation' / f'{subset}.txt').read_text().split()
    assert [Path(image['file_name']).stem for image in annotations.imgs.values()] == names
    assert len(names) == COUNTS[subset]
    for image in annotations.imgs.values():
        pixels = cv2.imread(str(root / 'JPEGImages' / image['file_name']))
        assert pixels.shape == (image['height'], image['width'], 3) == (96, 96, 3)


def test_box_and_area_are_those_of_the_mask(coco):
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        rows, columns = np.nonzero(mask)
        left, top = columns.min(), rows.min()
        sides = columns.max() + 1 - left, rows.max() + 1 - top
        assert annotation['area'] == mask.sum()
        assert annotation['bbox'] == [left, top, *sides]


def test_segmentation_maps_agree_with_the_coco_masks(root, coco):
    for image_id, image in coco.imgs.items():
        expected = np.zeros((96, 96), int)
        for annotation in coco.imgToAnns[image_id]:
            mask = coco.annToMask(annotation).astype(bool)
            assert not expected[mask].any(), 'visible parts of two objects never share a pixel'
            expected[mask] = annotation['category_id']
        found = Image.open(root / 'SegmentationClass' / f'{Path(image["file_name"]).stem}.png')
        assert found.mode == 'P'
        assert np.array_equal(np.array(found), expected)
        assert tuple(found.getpalette()[: 3 * len(PALETTE)]) == sum(PALETTE, ())


def test_class_names_are_the_categories(coco):
    assert [category['name'] for category in coco.cats.values()] == list(CLASSES)


def test_every_class_occurs_over_a_factor_of_four_in_size(coco):
    sides = [max(annotation['bbox'][2:]) for annotation in coco.anns.values()]
    assert max(sides) >= 4 * min(sides)
    assert {annotation['category_id'] for annotation in coco.anns.values()} == set(coco.cats)


def test_objects_hide_one_another_but_never_beyond_recognition():
    scenes = [render_scene(np.random.default_rng(seed)) for seed in range(20)]
    visible = np.array([instance.visible for scene in scenes for instance in scene.instances])
    assert np.mean(visible < 0.9) > 0.1
    assert visible.min() >= MIN_VISIBLE


def test_brightness_differs_between_scenes():
    scenes = [render_scene(np.random.default_rng(seed), 96) for seed in range(20)]
    brightness = [scene.image.mean() for scene in scenes]
    assert max(brightness) > 1.5 * min(brightness)


def test_the_same_data_set_is_not_made_twice(root):
    image = root / 'JPEGImages' / 'val_000000.jpg'
    before = image.stat().st_mtime_ns
    assert generate(root, **ARGUMENTS) == root
    assert image.stat().st_mtime_ns == before


def test_a_data_set_of_other_arguments_is_not_overwritten(root):
    with pytest.raises(DatasetExistsError, match="'seed': 5.*'seed': 3"):
        generate(root, **{**ARGUMENTS, 'seed': 5})


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / 'letter.txt').write_text('keep me')
    with pytest.raises(DatasetExistsError, match='choose another'):
        generate(tmp_path, **ARGUMENTS)
    assert (tmp_path / 'letter.txt').read_text() == 'keep me'


def test_an_interrupted_run_leaves_nothing_that_passes_for_a_data_set(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr('demo.dataset.Image.Image.save', interrupt)
        generate(tmp_path / 'shapes', **ARGUMENTS)
    assert not (tmp_path / 'shapes').exists()
    generate(tmp_path / 'shapes', **{**ARGUMENTS, 'num_train': 1, 'num_val': 1})
    assert [path.name for path in tmp_path.iterdir()] == ['shapes']


@pytest.mark.parametrize('wrong', [{'seed': -1}, {'num_train': 0}, {'size': 8}])
def test_an_impossible_argument_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match='|'.join(wrong)):
        generate(tmp_path / 'shapes', **{**ARGUMENTS, **wrong})


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['shapes.py', *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(COMMAND), run_name='__main__')
    return end.value.code


def test_the_command_refuses_in_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / 'letter.txt').write_text('keep me')
    assert run_command(monkeypatch, str(tmp_path)) == 2
    message = capsys.readouterr().err
    assert message.startswith('error: ')
    assert len(message.strip().splitlines()) == 1


def test_the_command_makes_what_it_is_asked_for(tmp_path, monkeypatch):
    out = tmp_path / 'shapes'
    options = ['--seed', '3', '--train', '2', '--val', '1', '--size', '96']
    assert run_command(monkeypatch, str(out), *options) == 0
    parameters = json.loads((out / 'shapes.json').read_text())
    assert parameters.items() >= {'seed': 3, 'num_train': 2, 'num_val': 1, 'size': 96}.items()
