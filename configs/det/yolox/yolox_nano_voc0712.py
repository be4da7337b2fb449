# YOLOX-Nano without attention, trained on VOC07+12 trainval and tested on VOC07 test: the baseline
# of `yolox_nano-*-neck_voc0712.py`.
#
# Input size, schedule, batch size and learning rate are those of ELA's authors (their
# YOLOX/train.py); the augmentation is MMDetection's. The authors start from COCO weights; this
# config trains from scratch, which needs no download. To start as they do, convert COCO weights
# (tools/model_converters/megvii_yolox.py) and add `--cfg-options load_from=FILE`.
# tools/dataset_converters/README.md describes how to prepare the data.
_base_ = 'mmdet::yolox/yolox_nano_8xb8-300e_coco.py'

dataset_type = 'VOCDataset'
data_root = 'data/VOCdevkit/'
image_scale = (640, 640)

model = dict(
    data_preprocessor=dict(batch_augments=None),  # a single scale, in training too
    bbox_head=dict(num_classes=20))

load_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True)
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='Pad', pad_to_square=True, pad_val=dict(img=(114.0, 114.0, 114.0))),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]

# Mosaic and the transforms behind it are the base's and belong to the wrapper, MultiImageMixDataset.
voc = dict(type=dataset_type, data_root=data_root)
trainval = dict(filter_cfg=dict(filter_empty_gt=False, min_size=32), pipeline=load_pipeline, **voc)
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='ConcatDataset',
            ignore_keys=['dataset_type'],  # VOC2007 and VOC2012 differ in it
            datasets=[
                dict(
                    ann_file='VOC2007/ImageSets/Main/trainval.txt',
                    data_prefix=dict(sub_data_root='VOC2007/'),
                    **trainval),
                dict(
                    ann_file='VOC2012/ImageSets/Main/trainval.txt',
                    data_prefix=dict(sub_data_root='VOC2012/'),
                    **trainval)
            ])))
val_dataloader = dict(
    batch_size=16,
    dataset=dict(
        _delete_=True,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        test_mode=True,
        pipeline=test_pipeline,
        **voc))
test_dataloader = val_dataloader

# The area under the curve, as the authors of ELA evaluate. VOC2007's own metric samples it at eleven
# points; `val_evaluator.eval_mode=11points` gives the metric of MMDetection's VOC configs.
val_evaluator = dict(_delete_=True, type='VOCMetric', metric='mAP', eval_mode='area')
test_evaluator = val_evaluator

max_epochs = 72
warmup_epochs = 3
base_lr = 0.01225 * 16 / 64
train_cfg = dict(max_epochs=max_epochs, val_interval=6)
optim_wrapper = dict(optimizer=dict(lr=base_lr, momentum=0.937))
param_scheduler = [
    dict(
        type='mmdet.QuadraticWarmupLR',
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=base_lr * 0.01,
        begin=warmup_epochs,
        T_max=max_epochs - warmup_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True)
]
default_hooks = dict(checkpoint=dict(interval=6, max_keep_ckpts=1, save_best='pascal_voc/mAP'))
auto_scale_lr = dict(base_batch_size=16)
