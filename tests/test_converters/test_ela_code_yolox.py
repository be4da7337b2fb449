"""A checkpoint by the names of ELA's authors is the same network in MMDetection."""

import re
import shlex
import subprocess
import sys

import pytest
import torch
from convert_yolox import convert_weights, convert_yolox
from plain_yolox import PlainYOLOX, largest_difference, randomise

from mmela import engine
from mmela.engine.hooks.load_report import note_on_preprocessing

#: The authors' YOLOX/model_data/voc_classes.txt.
VOC_CLASSES = (
    'aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike '
    'person pottedplant sheep sofa train tvmonitor'
).split()


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """YOLOX-Nano with ELA-T, saved as the authors save theirs: the state dict alone."""
    plain = randomise(PlainYOLOX('nano', 20, attention=True))
    path = tmp_path_factory.mktemp('source') / 'best_epoch_weights.pth'
    torch.save(plain.state_dict(), path)
    return path, plain


def test_their_network_with_attention_gives_the_same_head_outputs(
    source, build, convert_tool, tmp_path
):
    path, plain = source
    status, out, err = convert_tool('ela_code_yolox.py', path, tmp_path / 'ours.pth')
    assert (status, err) == (0, '')
    model = build('configs/det/yolox/yolox_nano-ela-t-neck_voc0712.py')
    weights = torch.load(tmp_path / 'ours.pth', weights_only=True)['state_dict']
    assert len(plain.state_dict()) == 642 + 5 * 3 and len(weights) == 642 + 3 * 3
    model.load_state_dict(weights, strict=True)
    for x in (torch.randn(2, 3, 96, 160), torch.rand(1, 3, 128, 64)):
        assert largest_difference(plain, model, x) < 1e-4


@torch.no_grad()
def test_every_layer_shows_in_the_head_outputs(source, build):
    """Without it the agreement above would say little."""
    model = build('configs/det/yolox/yolox_nano-ela-t-neck_voc0712.py')
    model.load_state_dict(convert_weights(source[1].state_dict(), attention=True).weights)
    x = torch.randn(1, 3, 64, 64)

    def outputs():
        return torch.cat([out.flatten() for outs in model._forward(x) for out in outs])

    before = outputs()
    hidden = []
    layers = [(n, p) for n, p in model.named_parameters() if p.dim() > 1 or '.ela_' in n]
    for name, parameter in layers:
        kept = parameter.clone()
        parameter.mul_(1.5).add_(0.1)
        if (outputs() - before).abs().max() < 100 * 1e-4:
            hidden.append(name)
        parameter.copy_(kept)
    assert hidden == []


def test_their_start_without_attention_gives_the_same_head_outputs(build, convert_tool, tmp_path):
    plain = randomise(PlainYOLOX('nano', 80))
    torch.save(plain.state_dict(), tmp_path / 'yolox_nano.pth')
    status, out, _ = convert_tool(
        'ela_code_yolox.py', tmp_path / 'yolox_nano.pth', tmp_path / 'ours.pth'
    )
    assert status == 0
    model = build('mmdet::yolox/yolox_nano_8xb8-300e_coco.py')
    weights = torch.load(tmp_path / 'ours.pth', weights_only=True)['state_dict']
    model.load_state_dict(weights, strict=True)
    assert largest_difference(plain, model, torch.randn(2, 3, 96, 160)) < 1e-4


def test_the_unused_layers_are_dropped_and_told(source, convert_tool, tmp_path):
    path, _ = source
    _, out, _ = convert_tool('ela_code_yolox.py', path, tmp_path / 'ours.pth')
    assert 'YOLOX-nano, 20 classes, ELA-T in the neck' in out
    assert 'converted: 651 tensors (642 of YOLOX, 9 of ELA)' in out
    assert 'dropped: 6 tensors of backbone.feat10 and backbone.feat5' in out
    assert 'left in the source: nothing' in out
    assert 'pictures: RGB / 255, normalised' in out
    assert 'yolox_nano-ela-t-neck_voc0712-ela-code.py' in out


def test_the_command_prints_what_the_page_shows(source, repo_root, tmp_path):
    page = (repo_root / 'docs/authors_checkpoint.md').read_text()
    command = re.search(r'^python (tools/model_converters/.*)$', page, re.MULTILINE)[1]
    shown = re.search(r'The converter prints\n\n```\n(.*?)```', page, re.DOTALL)[1]
    script, path, target = command.split()
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).symlink_to(source[0])
    done = subprocess.run(
        [sys.executable, repo_root / script, path, target],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, shown), done.stderr


def test_the_class_names_are_theirs_in_their_order(source, convert_tool, tmp_path):
    convert_tool('ela_code_yolox.py', source[0], tmp_path / 'ours.pth')
    meta = torch.load(tmp_path / 'ours.pth', weights_only=True)['meta']
    assert list(meta['dataset_meta']['classes']) == VOC_CLASSES
    assert meta['converted_from'] == 'best_epoch_weights.pth'


def ela_of(weights, per_group, kernel_size):
    """The same network with another variant of ELA."""
    other = dict(weights)
    for layer, channels in {'feat06': 64, 'feat1': 128, 'feat2': 256}.items():
        other[f'backbone.{layer}.conv.weight'] = torch.rand(channels, per_group, kernel_size)
    return other


@pytest.mark.parametrize('variant, kernel_size, per_group', [('B', 7, 1), ('S', 5, 8), ('L', 7, 8)])
def test_the_variant_is_read_off_the_weights(build, variant, kernel_size, per_group):
    weights = randomise(PlainYOLOX('nano', 20, attention=True)).state_dict()
    weights = ela_of(weights, per_group, kernel_size)
    converted = convert_weights(weights, attention=True)
    assert converted.variant == variant
    config = f'configs/det/yolox/yolox_nano-ela-{variant.lower()}-neck_voc0712.py'
    build(config).load_state_dict(converted.weights, strict=True)


def test_the_config_for_their_pictures_is_the_same_network(source, build):
    weights = convert_weights(source[1].state_dict(), attention=True).weights
    models = [
        build(f'configs/det/yolox/yolox_nano-ela-t-neck_voc0712{suffix}.py')
        for suffix in ('', '-ela-code')
    ]
    x = torch.randn(1, 3, 64, 96)
    for model in models:
        model.load_state_dict(weights, strict=True)
    with torch.no_grad():
        for ours, theirs in zip(*(model._forward(x) for model in models), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


SOURCES = {
    'T': lambda: PlainYOLOX('nano', 20, attention=True).state_dict(),
    'B': lambda: ela_of(PlainYOLOX('nano', 20, attention=True).state_dict(), 1, 7),
    'S': lambda: ela_of(PlainYOLOX('nano', 20, attention=True).state_dict(), 8, 5),
    'L, 3 classes': lambda: ela_of(PlainYOLOX('nano', 3, attention=True).state_dict(), 8, 7),
    'T, 80 classes': lambda: PlainYOLOX('nano', 80, attention=True).state_dict(),
    'plain': lambda: PlainYOLOX('nano', 20).state_dict(),
    'plain, 3 classes': lambda: PlainYOLOX('nano', 3).state_dict(),
    'plain, 80 classes': lambda: PlainYOLOX('nano', 80).state_dict(),
    'tiny, 20 classes': lambda: PlainYOLOX('tiny', 20).state_dict(),
}


@pytest.mark.parametrize('name', SOURCES)
def test_the_config_that_is_named_has_their_network_and_their_pictures(
    name, build, repo_root, tmp_path
):
    torch.save(SOURCES[name](), tmp_path / 'theirs.pth')
    told = convert_yolox(
        str(tmp_path / 'theirs.pth'), str(tmp_path / 'ours.pth'), from_ela_code=True
    )
    config, _, options = told.splitlines()[-1].partition(' MB, for ')[2].partition(' with ')
    flag, *options = shlex.split(options) or ['--cfg-options']  # as a shell takes it
    assert flag == '--cfg-options'
    checkpoint = torch.load(tmp_path / 'ours.pth', weights_only=True)
    build(config, options).load_state_dict(checkpoint['state_dict'], strict=True)
    cfg = engine.load_config(config if '::' in config else repo_root / config, options)
    preprocessor = cfg.model.data_preprocessor
    # ImageNet's, of values from 0 to 1.
    assert preprocessor.mean == pytest.approx([255 * v for v in (0.485, 0.456, 0.406)])
    assert preprocessor.std == pytest.approx([255 * v for v in (0.229, 0.224, 0.225)])
    assert preprocessor.bgr_to_rgb
    if 'nano' in config and '::' not in config:  # and their frame
        assert 'ELACodeLetterbox' in str(cfg.test_pipeline)


@pytest.mark.parametrize('suffix, is_told', [('', True), ('-ela-code', False)])
def test_a_config_with_other_pictures_is_told(source, suffix, is_told, repo_root, tmp_path):
    convert_yolox(str(source[0]), str(tmp_path / 'ours.pth'), from_ela_code=True)
    meta = torch.load(tmp_path / 'ours.pth', weights_only=True)['meta']
    config = f'configs/det/yolox/yolox_nano-ela-t-neck_voc0712{suffix}.py'
    note = note_on_preprocessing(meta, engine.load_config(repo_root / config))
    assert (note is not None) == is_told
    if is_told:
        assert 'trained on images in RGB (mean 123.675, 116.28, 103.53, std' in note
        assert 'here they are BGR from 0 to 255' in note
        assert 'it is for configs/det/yolox/yolox_nano-ela-t-neck_voc0712-ela-code.py' in note
