_base_ = './deeplabv3_r18_shapes.py'

# Produces weights/deeplabv3_r18_shapes.pth, from scenes that the demo never uses:
# `python tools/dataset_converters/shapes.py data/shapes-pretrain --seed 1 --train 6000`.
data_root = 'data/shapes-pretrain/'
# Crops allow a larger batch in the same time.
crop_size = (128, 128)
model = dict(data_preprocessor=dict(size=crop_size))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
    dict(type='PackSegInputs')
]
train_dataloader = dict(
    batch_size=16, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

max_iters = 5000
train_cfg = dict(max_iters=max_iters, val_interval=1000)
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type='PolyLR', eta_min=1e-4, power=0.9, by_epoch=False, begin=200, end=max_iters)
]
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=1000))
randomness = dict(seed=1)
