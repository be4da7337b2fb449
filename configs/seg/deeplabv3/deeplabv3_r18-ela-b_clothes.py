# Template for a custom data set in VOC segmentation format: set `data_root`, the classes, the file
# names and the number of iterations. This one is Clothing Co-Parsing, 1,004 street photographs
# 192 px wide, with its labels merged into ten classes.
_base_ = [
    'mmseg::_base_/models/deeplabv3_r50-d8.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_20k.py',
]

data_root = 'data/clothes_seg/VOCdevkit/VOC2012/'
metainfo = dict(
    classes=('background', 'skin', 'hair', 'top', 'outerwear', 'dress', 'trousers', 'skirt',
             'footwear', 'bag'),
    palette=[[0, 0, 0], [232, 190, 172], [90, 56, 37], [31, 119, 180], [255, 127, 14],
             [214, 39, 40], [44, 160, 44], [148, 103, 189], [188, 189, 34], [23, 190, 207]],
)  # fmt: skip
crop_size = (192, 192)

# ResNet-18 of half the width at output stride 16 with a slim head, small enough to train on two CPU
# cores.
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        type='mmela.SegResNetV1c',
        depth=18,
        stem_channels=32,
        base_channels=32,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        norm_cfg=norm_cfg,
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B'),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    ),
    decode_head=dict(
        in_channels=256, channels=64, dilations=(1, 3, 6, 9), num_classes=10, norm_cfg=norm_cfg
    ),
    auxiliary_head=dict(in_channels=128, channels=32, num_classes=10, norm_cfg=norm_cfg),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(192, 300), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.9),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
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
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        ann_file='ImageSets/Segmentation/train.txt', pipeline=train_pipeline, **dataset
    ),
)
val_dataloader = dict(
    batch_size=1,  # the photographs differ in height
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(ann_file='ImageSets/Segmentation/val.txt', pipeline=test_pipeline, **dataset),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

# From scratch.
max_iters = 2000
train_cfg = dict(max_iters=max_iters, val_interval=1000)
optimizer = dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.01)
optim_wrapper = dict(optimizer=optimizer)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, by_epoch=False, begin=50, end=max_iters),
]
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=1000, max_keep_ckpts=1, save_best='mIoU'),
)
