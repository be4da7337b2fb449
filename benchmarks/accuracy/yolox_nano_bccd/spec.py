"""YOLOX-Nano on blood cells, fine-tuned.

From the COCO weights that ELA's authors start from. docs/authors_checkpoint.md has the command that
converts ``YOLOX/model_data/yolox_nano.pth`` of their repository to ``work_dirs/start.pth``.
"""

base = 'configs/det/yolox/yolox_nano-ela-t_bccd.py'
metric = 'coco/bbox_mAP'
options = {
    'load_from': 'work_dirs/start.pth',
    # the preprocessing of those weights
    'model.data_preprocessor.mean': [123.675, 116.28, 103.53],
    'model.data_preprocessor.std': [58.395, 57.12, 57.375],
    'model.data_preprocessor.bgr_to_rgb': True,
    'optim_wrapper.optimizer.lr': 0.004,
    'train_cfg.max_epochs': 12,
    'train_cfg.val_interval': 2,
    'param_scheduler.1.T_max': 12,
    'param_scheduler.1.eta_min': 0.0002,
    'val_evaluator.classwise': True,
    'test_evaluator.classwise': True,
}
_neck = {
    'type': 'mmela.YOLOXPAFPN',
    'plugins': [
        {
            'cfg': {'type': 'mmela.ELA', 'variant': 'T', 'residual': True},
            'position': ('inputs', 'after_concat'),
            'share': True,
        }
    ],
}
entries = {
    'none': {'model.backbone.plugins': None},
    'ELA-T': {'model.backbone.plugins.0.cfg.residual': False},
    'ELA-T residual': {'model.backbone.plugins.0.cfg.residual': True},
    'ELA-T scaled': {'model.backbone.plugins.0.cfg.residual': 'scaled'},
    'SE': {'model.backbone.plugins.0.cfg': {'_delete_': True, 'type': 'mmela.SE'}},
    'ELA-T residual, neck': {'model.backbone.plugins': None, 'model.neck': _neck},
}
