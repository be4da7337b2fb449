"""Kinds of clothing: ``mmela compare benchmarks/accuracy/clothing.py --out work_dirs/cls``."""

base = 'configs/cls/resnet/resnet18-ela-b_clothing.py'
metric = 'accuracy/top1'
entries = {
    'none': {'model.backbone.plugins': None},
    'ELA-B': {'model.backbone.plugins.0.cfg.residual': False},
    'ELA-B residual': {'model.backbone.plugins.0.cfg.residual': True},
    'ELA-B scaled': {'model.backbone.plugins.0.cfg.residual': 'scaled'},
}
