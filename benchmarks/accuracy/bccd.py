"""Detection of blood cells: ``mmela compare benchmarks/accuracy/bccd.py --out work_dirs/bccd``."""

base = 'configs/det/yolox/yolox_nano-ela-t_bccd.py'
metric = 'coco/bbox_mAP'
entries = {
    'none': {'model.backbone.plugins': None},
    'ELA-T': {'model.backbone.plugins.0.cfg.residual': False},
    'ELA-T residual': {'model.backbone.plugins.0.cfg.residual': True},
    'ELA-T scaled': {'model.backbone.plugins.0.cfg.residual': 'scaled'},
}
