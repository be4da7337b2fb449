"""ResNet-18 on kinds of clothing, from scratch.

Of half the width. And how should the gate start?

A fresh ELA multiplies by 0.29 on average, with noise from its random convolution. The last four
entries start its GroupNorm otherwise: with weight 0.1 most of the noise is gone, with weight 0 all
of it, and with bias 3 the product of the two gates is 0.91.
"""

base = 'configs/cls/resnet/resnet18-ela-b_clothing.py'
metric = 'accuracy/top1'
options = {
    'train_cfg.val_interval': 2,
    'test_evaluator': [
        {'type': 'Accuracy', 'topk': 1},
        {'type': 'SingleLabelMetric', 'average': None, 'items': ('recall',)},
    ],
}

_cfg = 'model.backbone.plugins.0.cfg.'
_weight_01 = {'type': 'Constant', 'layer': 'GroupNorm', 'val': 0.1, 'bias': 0.0}
_bias_3 = {'type': 'Constant', 'layer': 'GroupNorm', 'val': 1.0, 'bias': 3.0}
_constant = {'type': 'Constant', 'layer': 'GroupNorm', 'val': 0.0, 'bias': 3.0}
_no_decay = {'optim_wrapper.paramwise_cfg': {'custom_keys': {'.ela.': {'decay_mult': 0.0}}}}
entries = {
    'none': {'model.backbone.plugins': None},
    'SE': {'model.backbone.plugins.0.cfg': {'_delete_': True, 'type': 'mmela.SE'}},
    'ELA-B': {},
    'ELA-B scaled': {_cfg + 'residual': 'scaled'},
    'ELA-B weight 0.1': {_cfg + 'init_cfg': _weight_01},
    'ELA-B bias 3': {_cfg + 'init_cfg': _bias_3},
    'ELA-B weight 0 bias 3': {_cfg + 'init_cfg': _constant},
    'ELA-B weight 0 bias 3 no decay': {_cfg + 'init_cfg': _constant, **_no_decay},
}
