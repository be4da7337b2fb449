"""YOLOX-Nano on cell nuclei, fine-tuned.

Many and small; the training is that on blood cells.

The configs of custom data are read by options alone: the data set, one class and 256 px.
"""

base = 'configs/det/yolox/yolox_nano-ela-t_bccd.py'
metric = 'coco/bbox_mAP'

_size = (256, 256)
_metainfo = {'classes': ('nucleus',), 'palette': [(220, 20, 60)]}
_train, _val, _test = (f'{name}_dataloader.dataset.' for name in ('train', 'val', 'test'))
options = {
    'load_from': 'work_dirs/start.pth',
    # the preprocessing of those weights
    'model.data_preprocessor.mean': [123.675, 116.28, 103.53],
    'model.data_preprocessor.std': [58.395, 57.12, 57.375],
    'model.data_preprocessor.bgr_to_rgb': True,
    'data_root': 'data/nuclei/',
    **{key + 'metainfo': _metainfo for key in (_train, _val, _test)},
    **{key + 'data_prefix.img': 'images/' for key in (_train, _val, _test)},
    'model.bbox_head.num_classes': 1,
    _train + 'pipeline.3.scale': _size,
    _train + 'pipeline.4.crop_size': _size,
    _train + 'pipeline.6.size': _size,
    **{key + 'pipeline.1.scale': _size for key in (_val, _test)},
    **{key + 'pipeline.2.size': _size for key in (_val, _test)},
    'optim_wrapper.optimizer.lr': 0.004,
    'train_cfg.max_epochs': 12,
    'train_cfg.val_interval': 2,
    'param_scheduler.1.T_max': 12,
    'param_scheduler.1.eta_min': 0.0002,
}
entries = {
    'none': {'model.backbone.plugins': None},
    'ELA-T': {'model.backbone.plugins.0.cfg.residual': False},
    'ELA-T residual': {'model.backbone.plugins.0.cfg.residual': True},
    'ELA-T scaled': {'model.backbone.plugins.0.cfg.residual': 'scaled'},
    'SE': {'model.backbone.plugins.0.cfg': {'_delete_': True, 'type': 'mmela.SE'}},
}
