"""What the fused kernels keep for backward, beside what a whole network keeps."""

from __future__ import annotations

import pytest
import torch

from benchmarks import model as networks
from benchmarks.inputs import make_inputs
from mmela import ELA
from mmela.engine import load_config
from mmela.ops.fused.launch import _prepare_forward, shape_of

pytestmark = pytest.mark.long
CONFIGS = {
    'det/faster_rcnn/faster-rcnn_r50-ela-b-c3-c5_fpn_1x_coco.py': ('mmdet', (800, 1344)),
    'seg/deeplabv3/deeplabv3_r50-d8-ela-s-c3-c5_4xb4-20k_voc12aug-512x512.py': (
        'mmseg',
        (512, 512),
    ),
    'det/yolox/yolox_s-ela-t_8xb8-300e_coco.py': ('mmdet', (640, 640)),
}


@pytest.mark.parametrize('name', CONFIGS)
def test_the_vectors_are_less_than_a_hundredth_of_what_the_network_keeps(repo_root, name):
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import MODELS

    scope, shape = CONFIGS[name]
    cfg = load_config(str(repo_root / 'configs' / name))
    networks._prepare_config(cfg.model, shape)
    with MODELS.switch_scope_and_registry(scope):
        network = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
    data = network.data_preprocessor(make_inputs(cfg, shape, 2, torch.device('cpu')), True)
    vectors = 0

    def count_vectors(layer, args):
        nonlocal vectors
        shape = shape_of(args[0], layer.conv.weight, layer.conv.groups, layer.gn.num_groups)
        vectors += 4 * _prepare_forward(shape, bool(layer.residual), None).strips

    for layer in network.modules():
        if isinstance(layer, ELA):
            layer.register_forward_pre_hook(count_vectors)
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = network(**data, mode='loss')
    assert losses
    # Mixed precision keeps half of the maps' bytes at the least, and vectors of float32.
    share = vectors / (sum(kept.values()) / 2)
    print(f'{name}: {vectors / 1e6:.1f} MB of vectors, {share:.2%} of what is kept')
    assert 0 < share < 0.01
