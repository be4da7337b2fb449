"""The class folders of a classification config against each other and its head."""

from inspect import signature
from pathlib import Path

import pytest
from mmengine.config import Config

from mmela.engine import UserError, check_data, load_config, use_tta
from mmela.engine.checks import classification

pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')

TINY = Path(__file__).parent / 'configs' / 'tiny_cls.py'


def complaint(cfg, *splits):
    with pytest.raises(UserError) as error:
        check_data(cfg, splits)
    return str(error.value)


@pytest.fixture
def folders(tmp_path):
    for split in ('train', 'val'):
        for name in ('cat', 'cow', 'dog'):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / 'a.jpg').touch()
    return tmp_path


def config(root, **dataset):
    return load_config(TINY, {'data_root': str(root), **dataset})


def test_class_folders_that_fit_are_accepted(folders):
    check_data(config(folders), ['train', 'val', 'test'])


def test_another_number_of_classes_than_the_head_has_is_refused(folders):
    cfg = config(folders, **{'model.head.num_classes': 10})
    text = complaint(cfg, 'train')
    assert '(cat, cow, dog)' in text and '--cfg-options model.head.num_classes=3' in text
    use_tta(cfg)
    assert 'model.head.num_classes is 10' in complaint(cfg, 'test')


def test_a_class_that_a_split_lacks_is_refused_because_it_would_shift_the_labels(folders):
    (folders / 'val' / 'cow' / 'a.jpg').unlink()
    check_data(config(folders), ['train', 'val'])  # an empty folder keeps its label
    (folders / 'val' / 'cow').rmdir()
    for split in ('val', 'test'):
        text = complaint(config(folders), split)
        assert f'{split}_dataloader.dataset' in text and 'cow' in text and 'an empty folder' in text


def test_a_hidden_folder_is_named_and_not_counted_as_a_class(folders):
    (folders / 'train' / '.ipynb_checkpoints').mkdir()
    text = complaint(config(folders), 'train')
    assert f'remove {folders / "train" / ".ipynb_checkpoints"}' in text
    check_data(config(folders), ['val'])


def test_class_folders_without_any_image_are_refused(folders):
    for image in folders.glob('train/*/a.jpg'):
        image.unlink()
    text = complaint(config(folders), 'train')
    assert 'no class folder of' in text and 'put the images of each class into' in text


def test_images_with_an_extension_that_mmpretrain_does_not_take_are_refused(folders):
    for image in [*folders.glob('train/*/a.jpg')]:
        image.rename(image.with_suffix('.webp'))
    text = complaint(config(folders), 'train')
    assert '(.jpg, .jpeg, .png,' in text and '.webp' in text
    assert '"train_dataloader.dataset.extensions=[.EXT]"' in text
    check_data(config(folders, **{'train_dataloader.dataset.extensions': ['.WEBP']}), ['train'])


def test_the_extensions_are_mmpretrains_own():
    from mmpretrain.datasets import CustomDataset, ImageNet

    assert signature(CustomDataset).parameters['extensions'].default == classification.EXTENSIONS
    assert ImageNet.IMG_EXTENSIONS == classification.EXTENSIONS


def test_a_training_class_without_images_triggers_a_warning(folders, warned):
    for split in ('train', 'val'):
        (folders / split / 'cow' / 'a.jpg').unlink()
    check_data(config(folders), ['val'])
    assert not warned()
    check_data(config(folders), ['train'])
    (message,) = warned()
    assert 'train_dataloader.dataset' in message and 'cow' in message


@pytest.mark.parametrize('key', ['classes', 'metainfo.classes'])
def test_another_number_of_named_classes_than_folders_is_refused(folders, key):
    where = f'train_dataloader.dataset.{key}'
    text = complaint(config(folders, **{where: ['a', 'b']}), 'train')
    assert text.startswith(f'{where} names 2 classes') and '(cat, cow, dog)' in text
    check_data(config(folders, **{where: ['a', 'b', 'c']}), ['train'])
    (folders / 'names.txt').write_text('a\nb\nc\n')
    check_data(config(folders, **{where: str(folders / 'names.txt')}), ['train'])
    assert "classes=('a',)" in complaint(config(folders, **{where: 'a'}), 'train')


@pytest.mark.parametrize('encoding', ['latin-1', 'utf-8-sig'])
def test_a_class_list_that_is_not_plain_utf8_is_refused(folders, encoding):
    names = folders / 'names.txt'
    names.write_text('Küken\nb\nc\n', encoding=encoding)
    key = 'train_dataloader.dataset.classes'
    text = complaint(config(folders, **{key: str(names)}), 'train')
    assert text.startswith(f'{key}: {names} is ') and 'save it as UTF-8 without BOM' in text


def test_the_names_of_imagenet_for_other_folders_are_refused(folders):
    cfg = config(folders, **{'val_dataloader.dataset.type': 'ImageNet'})
    assert '--cfg-options val_dataloader.dataset.type=CustomDataset' in complaint(cfg, 'val')


@pytest.mark.parametrize('topk', [50, [1, 50]])
def test_an_accuracy_of_more_classes_than_there_are_is_refused(folders, topk):
    cfg = config(folders, **{'val_evaluator.topk': topk})
    text = complaint(cfg, 'train', 'val')
    assert 'num_classes=3' in text and '--cfg-options "val_evaluator.topk=[1]"' in text
    check_data(config(folders, **{'val_evaluator.topk': [1, 3]}), ['train', 'val'])


def test_images_without_class_folders_are_refused(folders):
    cfg = config(folders, **{'val_dataloader.dataset.data_prefix': 'val/cat'})
    assert 'ann_file' in complaint(cfg, 'val')


@pytest.mark.parametrize(
    'dataset',
    [
        dict(type='CustomDataset', data_prefix='val/cat', ann_file='list.txt'),
        dict(type='CustomDataset', data_prefix='val/cat', with_label=False),
        dict(type='ImageNet', split='val'),  # with meta/val.txt
        dict(type='ImageNet', split='test'),
    ],
)
def test_data_sets_that_read_their_labels_elsewhere_are_not_compared(folders, dataset):
    for name in ('list.txt', 'meta/val.txt', 'test/a.jpg', 'val/a.jpg'):
        (folders / name).parent.mkdir(exist_ok=True)
        (folders / name).touch()
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=dict(num_classes=1000)),
            val_dataloader=dict(dataset=dict(data_root=str(folders), **dataset)),
        )
    )
    check_data(cfg, ['val'])


def test_missing_data_of_an_imagenet_config_is_reported_with_its_source(tmp_path):
    options = {f'{s}_dataloader.dataset.data_root': str(tmp_path / 'no') for s in ('train', 'val')}
    cfg = load_config('mmpretrain::resnet/resnet18_8xb32_in1k.py', options)
    text = complaint(cfg, 'train', 'val')
    assert 'train_dataloader.dataset.data_root' in text and 'ImageNet: https://' in text
