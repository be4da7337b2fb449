"""Segmentation of clothes: ``mmela compare benchmarks/accuracy/clothes.py --out work_dirs/seg``."""

base = 'configs/seg/deeplabv3/deeplabv3_r18-ela-b_clothes.py'
metric = 'mIoU'
entries = {
    'none': {'model.backbone.plugins': None},
    'ELA-B': {'model.backbone.plugins.0.cfg.residual': False},
    'ELA-B residual': {'model.backbone.plugins.0.cfg.residual': True},
    'ELA-B scaled': {'model.backbone.plugins.0.cfg.residual': 'scaled'},
}
