"""`docs/own_layer.md`: its layers run, agree with SimAM's formula, and train in a network."""

import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'own_layer.md'
BLOCKS = re.findall(r'^```python\n(.*?)^```', PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The blocks that name a file, as files that can be imported."""
    folder = tmp_path_factory.mktemp('own')
    for block in BLOCKS:
        name = re.match(r'# (\w+\.py)\n', block)
        if name:
            (folder / name[1]).write_text(block)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def simam(x, e_lambda=1e-4):
    """The formula of the paper, position by position."""
    out = torch.empty_like(x)
    n, c, h, w = x.shape
    for i in range(n):
        for j in range(c):
            mean = x[i, j].mean()
            variance = ((x[i, j] - mean) ** 2).sum() / (h * w - 1)
            for u in range(h):
                for v in range(w):
                    energy = (x[i, j, u, v] - mean) ** 2 / (4 * (variance + e_lambda)) + 0.5
                    out[i, j, u, v] = x[i, j, u, v] / (1 + torch.exp(-energy))
    return out


def test_both_layers_are_the_formula(folder):
    import my_attention
    import my_layers

    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(my_layers.SimAM(3)(x), simam(x))
    torch.testing.assert_close(my_attention.GatedSimAM(3)(x), simam(x))
    torch.testing.assert_close(my_attention.GatedSimAM(3, residual=True)(x), x + simam(x))
    assert torch.equal(my_attention.GatedSimAM(3, residual='scaled')(x), x)
    (gate,) = my_attention.GatedSimAM(3).gate(x)
    torch.testing.assert_close(gate * x, simam(x))


def test_the_config_of_the_page_builds_and_the_layer_trains(folder):
    cfg = Config.fromfile(folder / 'my_config.py')
    init_default_scope('mmdet')
    cfg.model.backbone.init_cfg = None
    backbone = MODELS.build(cfg.model.backbone)
    names = [name for name, module in backbone.named_modules() if type(module).__name__ == 'SimAM']
    assert len(names) == 4 + 6 + 3 and names[0] == 'layer2.0.simam'
    sum(out.sum() for out in backbone(torch.rand(1, 3, 64, 64))).backward()
