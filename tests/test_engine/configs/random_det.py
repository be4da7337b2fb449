# By epoch, with mosaic and mixup, which draw other images, and image sizes that a batch
# augmentation remembers for some iterations.
_base_ = './tiny_det.py'

custom_imports = dict(imports=['interrupt'])
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', update_buffers=True, priority=49),
    dict(type='TraceHook'),
]
model = dict(
    data_preprocessor=dict(
        batch_augments=[
            dict(
                type='BatchSyncRandomResize',
                random_size_range=(32, 96),
                size_divisor=32,
                interval=3,
            )
        ]
    )
)
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=dict(
            type='CocoDataset',
            data_root={{_base_.data_root}},
            metainfo={{_base_.metainfo}},
            ann_file='annotations/instances_train.json',
            data_prefix=dict(img='JPEGImages/'),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
            ],
        ),
        pipeline=[
            dict(type='Mosaic', img_scale=(64, 64), pad_val=114.0),
            dict(type='RandomAffine', scaling_ratio_range=(0.5, 1.5), border=(-32, -32)),
            dict(type='MixUp', img_scale=(64, 64), ratio_range=(0.8, 1.6), pad_val=114.0),
            dict(type='YOLOXHSVRandomAug'),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
    ),
)
train_cfg = dict(max_epochs=2, val_interval=1)
randomness = dict(seed=0)
