"""SPEC files, and results of runs as a comparison keeps them."""

import json

from mmela.analysis.compare.cell import RESULT, folder_of

NONE = {0: 0.624, 1: 0.620, 2: 0.625, 3: 0.618, 4: 0.622}
WORSE = {0: 0.599, 1: 0.602, 2: 0.608, 3: 0.595, 4: 0.601}
EQUAL = {0: 0.621, 1: 0.625, 2: 0.622, 3: 0.619, 4: 0.621}


def spec_of(tmp_path, **changes):
    values = dict(
        base='mmdet::yolox/yolox_nano_8xb8-300e_coco.py',
        metric='coco/bbox_mAP',
        entries={'none': {}, 'ELA-T': {'model.backbone.type': 'mmela.CSPDarknet'}},
    )
    values.update(changes)
    file = tmp_path / 'spec.py'
    file.write_text('\n'.join(f'{k} = {v!r}' for k, v in values.items() if v is not None))
    return str(file)


def kept_result(spec, out, entry, seed=0, **changes):
    file = folder_of(out, entry, seed) / RESULT
    file.parent.mkdir(parents=True, exist_ok=True)
    metrics = {spec.metric: 0.5}
    values = dict(seed=seed, metrics=metrics, setting=spec.setting(entry), seconds=60)
    file.write_text(json.dumps({**values, **changes}))
    return file
