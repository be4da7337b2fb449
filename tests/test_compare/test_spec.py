"""What a SPEC may hold, and that those of the benchmarks are sound."""

from pathlib import Path

import pytest
from kept_results import spec_of
from mmengine.registry import MODELS, init_default_scope

from mmela.analysis.compare.spec import read_spec, slug
from mmela.engine import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_a_cross_product_names_its_entries(tmp_path):
    axes = {
        'form': {'plain': {}, 'scaled': {'model.backbone.plugins.0.cfg.residual': 'scaled'}},
        'depth': {'narrow': {'model.backbone.widen_factor': 0.25}, '': {}},
    }
    base = 'configs/det/yolox/yolox_nano-ela-t_bccd.py'
    spec = read_spec(spec_of(tmp_path, entries={}, cross=axes, base=base))
    assert list(spec.entries) == ['plain narrow', 'plain', 'scaled narrow', 'scaled']
    cfg = spec.config('scaled narrow', 3, str(tmp_path))
    assert cfg.model.backbone.plugins[0].cfg.residual == 'scaled'
    assert (cfg.model.backbone.widen_factor, cfg.randomness.seed) == (0.25, 3)


@pytest.mark.parametrize(
    'changes, said',
    [
        (dict(metrics='mIoU'), "did you mean 'metric'"),
        (dict(metric=None), 'metric'),
        (dict(entries={'none': {}}), 'at least two'),
        (dict(reference='non'), "did you mean 'none'"),
        (dict(entries={'ELA T': {}, 'ela-t': {}}), "'ELA T' and 'ela-t'"),
        (dict(cross={'a': {'ELA': {}, '': {}}, 'b': {'ELA': {}, '': {}}}), "'ELA' twice"),
        (dict(cross={'a': {'none': {}}}), "'none' twice"),
        (dict(cross={'a': {'': {}, 'ELA': {}}}), 'for one'),
        (dict(base='nowhere.py'), 'nowhere.py'),
        (dict(entries=['a', 'b']), 'entries'),
        (dict(entries={'a': {}, 'b': 'x'}), "entries['b']"),
        (dict(cross=[1]), 'cross'),
        (dict(cross={'form': ['plain']}), "cross['form']"),
        (dict(options='data'), 'options'),
    ],
)
def test_an_invalid_spec_is_refused_with_key_and_fix(changes, said, tmp_path):
    with pytest.raises(UserError) as error:
        read_spec(spec_of(tmp_path, **changes))
    assert said in str(error.value)


@pytest.mark.parametrize(
    'name', [path.parent.name for path in (ROOT / 'benchmarks/accuracy').glob('*/spec.py')]
)
def test_the_entries_of_the_benchmarks_are_networks(name, monkeypatch):
    """Each builds, shares all tensors of the reference, and has the attention of its name."""
    if 'clothing' in name:
        pytest.importorskip('mmpretrain')
    monkeypatch.chdir(ROOT)
    spec = read_spec(f'benchmarks/accuracy/{name}/spec.py')
    keys = {}
    for entry in spec.entries:
        cfg = spec.config(entry, 0, 'work_dirs')
        init_default_scope(cfg.default_scope)
        network = MODELS.build(cfg.model)
        keys[entry] = {key: tensor.shape for key, tensor in network.state_dict().items()}
        kinds = {type(module).__name__ for module in network.modules()}
        assert kinds & {'ELA', 'SE', 'CoordAtt'} == (
            set() if entry == 'none' else {entry.split()[0].split('-')[0]}
        )
    reference = keys.pop(spec.reference).items()
    assert all(reference <= found.items() for found in keys.values())


def test_names_become_folders():
    assert slug('x + scale * ELA(x)') == 'x-scale-ela-x'
