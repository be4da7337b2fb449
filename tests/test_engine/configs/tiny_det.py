# YOLOX-Nano with ELA on images of 64 px: seconds on a CPU, nothing left to chance.
_base_ = 'mmdet::yolox/yolox_nano_8xb8-300e_coco.py'

data_root = 'data/shapes/'
metainfo = dict(classes=('disc', 'square', 'triangle', 'star', 'ring', 'cross'))
model = dict(
    data_preprocessor=dict(batch_augments=None),
    backbone=dict(
        type='mmela.CSPDarknet',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='T', residual='scaled'),
                position='after_stage',
                stages=(False, True, True, True),
            )
        ],
    ),
    bbox_head=dict(num_classes=6),
)

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dict(
        _delete_=True,
        type='CocoDataset',
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='JPEGImages/'),
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='JPEGImages/'),
        pipeline=pipeline,
    ),
)
test_dataloader = val_dataloader
# The base's own would test at three scales of up to 960 px.
tta_model = None
tta_pipeline = None
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

max_epochs = 1
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', priority=49)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
