"""What predict, look and export answer where checkpoint, classes, device or output do not fit."""

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
import torch

from mmela.commands.looker import Looker
from mmela.commands.networks import read_weights
from mmela.commands.predict import predict, to_json
from mmela.engine import UserError
from mmela_cli.predict import main


def test_classes_are_those_of_the_checkpoint_then_of_the_test_set_then_numbers(
    tiny_det, trained, images, tmp_path
):
    names = ('a', 'b', 'c', 'd', 'e', 'f')
    for meta, options, expected in (
        ({'dataset_meta': {'CLASSES': names}}, {}, names),
        ({'CLASSES': names}, {}, names),
        ({}, {}, ('disc', 'square', 'triangle', 'star', 'ring', 'cross')),
        ({}, {'test_dataloader.dataset.metainfo': {'classes': ('one',)}}, tuple('012345')),
    ):
        cfg, checkpoint = trained(tiny_det, options, meta)
        assert Looker(cfg, checkpoint, 'cpu').model.dataset_meta['classes'] == expected
        (result,) = predict(
            cfg, checkpoint, images[:1], score_thr=0, device='cpu', out=str(tmp_path / 'drawn')
        )
        assert {box['class'] for box in result['boxes']} <= set(expected)
        assert result['boxes'] and cv2.imread(result['drawn']) is not None


def test_a_segmenter_without_names_is_drawn_too(tiny_seg, trained, images, tmp_path):
    options = {'test_dataloader.dataset.metainfo': None}
    cfg, checkpoint = trained(tiny_seg, options)
    (result,) = predict(cfg, checkpoint, images[:1], device='cpu', out=str(tmp_path / 'drawn'))
    assert set(result['pixels']) <= set('0123456')
    assert cv2.imread(result['drawn']) is not None


def test_a_segmenter_takes_images_of_two_sizes_in_one_batch(tiny_seg, trained, images, tmp_path):
    image = cv2.imread(images[0])
    cv2.imwrite(f'{tmp_path}/small.png', cv2.resize(image, (48, 40)))
    cfg, checkpoint = trained(tiny_seg)
    given = [images[0], f'{tmp_path}/small.png']
    results = list(predict(cfg, checkpoint, given, batch_size=2, out=str(tmp_path / 'drawn')))
    shapes = [cv2.imread(result['mask'], cv2.IMREAD_UNCHANGED).shape for result in results]
    assert shapes == [image.shape[:2], (40, 48)]


def test_equal_names_of_classes_keep_their_scores(configs, trained, images, tmp_path):
    pytest.importorskip('mmpretrain')
    cfg, checkpoint = trained(
        str(configs / 'tiny_cls.py'), meta={'dataset_meta': {'classes': ['crane', 'crane', 'ox']}}
    )
    (result,) = predict(cfg, checkpoint, images[:1], device='cpu', out=str(tmp_path / 'drawn'))
    assert sorted(s['class'] for s in result['scores']) == ['crane', 'crane', 'ox']
    assert sum(s['score'] for s in result['scores']) == pytest.approx(1, abs=1e-3)
    assert result['scores'][0] == {'class': result['class'], 'score': result['score']}
    assert json.loads(to_json([result])) == [result]


def test_a_checkpoint_of_another_network_is_refused(tiny_det, tiny_seg, trained, images):
    cfg, own = trained(tiny_det)
    _, other = trained(tiny_seg, name='other.pth')
    with pytest.raises(UserError, match=r'other\.pth.*config'):
        Looker(cfg, other, 'cpu')
    with pytest.raises(UserError, match=r'other\.pth.*config'):
        next(predict(cfg, other, images[:1], device='cpu'))
    contents = torch.load(own)
    backbone = {k: v for k, v in contents['state_dict'].items() if k.startswith('backbone.stem')}
    torch.save({'state_dict': backbone}, other)
    with pytest.raises(UserError, match=r'other\.pth.*config'):
        Looker(cfg, other, 'cpu')


def test_a_checkpoint_may_be_an_address(tiny_det, trained, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    cfg, checkpoint = trained(tiny_det)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        looker = Looker(cfg, f'{address}/random.pth', 'cpu')
        with pytest.raises(UserError, match='nowhere'):
            read_weights(cfg, f'{address}/nowhere.pth')
        server.shutdown()
    assert looker.model.state_dict().keys() == torch.load(checkpoint)['state_dict'].keys()


@pytest.mark.parametrize('device', ['gpu', 'cuda:99'])
def test_a_device_that_is_not_there_is_named(device, tiny_det, trained, images):
    cfg, checkpoint = trained(tiny_det)
    with pytest.raises(UserError, match=f'--device.*{device}.*--device cpu'):
        Looker(cfg, checkpoint, device)
    with pytest.raises(UserError, match=f'--device.*{device}.*--device cpu'):
        next(predict(cfg, checkpoint, images[:1], device=device))


@pytest.mark.parametrize('kind', ['ConcatDataset', 'RepeatDataset'])
def test_a_test_set_may_be_wrapped(kind, tiny_det, trained, images):
    cfg, checkpoint = trained(tiny_det)
    inner = cfg.test_dataloader.dataset
    (plain,) = predict(cfg, checkpoint, images[:1], device='cpu', score_thr=0)
    parts = {'datasets': [inner, inner]} if kind == 'ConcatDataset' else {'dataset': inner}
    cfg.test_dataloader.dataset = dict(
        type=kind, **parts, **({'times': 2} if kind[0] == 'R' else {})
    )
    (view,) = Looker(cfg, checkpoint, 'cpu').views(images[:1])
    assert view.image.shape == (64, 64, 3)
    (wrapped,) = predict(cfg, checkpoint, images[:1], device='cpu', score_thr=0)
    np.testing.assert_equal(wrapped, plain)


def test_the_command_makes_folders_and_refuses_an_empty_batch(
    tiny_det, trained, images, shapes_root, tmp_path
):
    _, checkpoint = trained(tiny_det)
    command = [tiny_det, checkpoint, images[0], '--cfg-options', f'data_root={shapes_root}']
    with pytest.raises(SystemExit):
        main([*command, '--batch-size', '0'])
    file = tmp_path / 'new' / 'folder' / 'boxes.json'
    assert main([*command, '--device', 'cpu', '--json', str(file)]) == 0
    assert json.loads(file.read_text())[0]['image'] == images[0]
