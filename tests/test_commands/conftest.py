"""Networks with random weights that commands are run with."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmela import engine
from mmela.engine.toolboxes import scope_of


@pytest.fixture
def trained(shapes_root, tmp_path):
    """Loads a config, and writes a checkpoint for it as after a training."""

    def make(config, options=None, meta=None, spread=None, name='random.pth'):
        if isinstance(config, Config):
            cfg = config
        else:
            cfg = engine.load_config(config, {'data_root': str(shapes_root), **(options or {})})
        init_default_scope(scope_of(cfg))
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        for layer, std in (spread or {}).items():  # outputs that differ from place to place
            torch.nn.init.normal_(model.get_submodule(layer).weight, std=std)
            torch.nn.init.zeros_(model.get_submodule(layer).bias)
        contents = {'state_dict': model.state_dict(), 'meta': meta or {}}
        torch.save(contents, tmp_path / name)
        return cfg, str(tmp_path / name)

    return make


@pytest.fixture
def images(shapes_root):
    return sorted(str(path) for path in (shapes_root / 'JPEGImages').glob('val_*.jpg'))
