"""DeepLabV3 with ResNet-18 of half the width on clothes, from scratch."""

base = 'configs/seg/deeplabv3/deeplabv3_r18-ela-b_clothes.py'
metric = 'mIoU'
options = {
    'train_cfg.val_interval': 500,
    'val_evaluator.type': 'mmela.ClasswiseIoUMetric',
    'test_evaluator.type': 'mmela.ClasswiseIoUMetric',
}
entries = {
    'none': {'model.backbone.plugins': None},
    'ELA-B': {},
    'ELA-B scaled': {'model.backbone.plugins.0.cfg.residual': 'scaled'},
}
