# A narrow FCN on ResNet-18 with ELA on images of 64 px. Its norms see no other image
# (GroupNorm, frozen BatchNorm), so that processes can be compared.
_base_ = [
    'mmseg::_base_/models/fcn_r50-d8.py',
    'mmseg::_base_/default_runtime.py',
]

data_root = 'data/shapes/'
metainfo = dict(
    classes=('background', 'disc', 'square', 'triangle', 'star', 'ring', 'cross'),
    palette=[
        [0, 0, 0],
        [228, 87, 86],
        [76, 120, 168],
        [84, 162, 75],
        [238, 202, 59],
        [178, 121, 162],
        [114, 183, 178],
    ],
)
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    pretrained=None,
    backbone=dict(
        type='mmela.SegResNetV1c',
        depth=18,
        stem_channels=8,
        base_channels=8,
        norm_eval=True,
        zero_init_residual=False,  # or the attention would be hidden in the first step
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B'),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    ),
    decode_head=dict(
        in_channels=64,
        channels=16,
        num_classes=7,
        dropout_ratio=0,
        norm_cfg=dict(_delete_=True, type='GN', num_groups=4),
    ),
    auxiliary_head=None,
)

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    metainfo=metainfo,
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(ann_file='ImageSets/Segmentation/train.txt', pipeline=pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(ann_file='ImageSets/Segmentation/val.txt', pipeline=pipeline, **dataset),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
randomness = dict(seed=0)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1),
    visualization=dict(type='SegVisualizationHook'),
)
# `_base_` counts iterations, and this counts epochs.
log_processor = dict(by_epoch=True)
