"""ResNet-18 on kinds of clothing, how the gate starts, on fresh seeds.

The best of the four settings in ``resnet18_clothing``, over seeds 5 to 9: GroupNorm's weight
starts at 0 and its bias at 3, so that both gates together are 0.91 at first, whatever the random
convolution says, and the attention has no weight decay.
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
entries = {
    'none': {'model.backbone.plugins': None},
    'ELA-B weight 0 bias 3 no decay': {
        'model.backbone.plugins.0.cfg.init_cfg': {
            'type': 'Constant',
            'layer': 'GroupNorm',
            'val': 0.0,
            'bias': 3.0,
        },
        'optim_wrapper.paramwise_cfg': {'custom_keys': {'.ela.': {'decay_mult': 0.0}}},
    },
}
