"""MobileNetV2 of half the width on kinds of clothing, from scratch."""

base = 'configs/cls/mobilenet_v2/mobilenet-v2-ela-b_clothing.py'
metric = 'accuracy/top1'
options = {
    'train_cfg.val_interval': 2,
    'test_evaluator': [
        {'type': 'Accuracy', 'topk': 1},
        {'type': 'SingleLabelMetric', 'average': None, 'items': ('recall',)},
    ],
}
entries = {
    'none': {'model.backbone.plugins': None},
    'CoordAtt': {'model.backbone.plugins.0.cfg': {'_delete_': True, 'type': 'mmela.CoordAtt'}},
    'ELA-B': {},
    'ELA-B scaled': {'model.backbone.plugins.0.cfg.residual': 'scaled'},
}
