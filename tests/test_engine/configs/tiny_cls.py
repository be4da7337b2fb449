# A narrow ResNet-18 with ELA on images of 32 px in ImageNet folders. Its norms see no other
# image (frozen BatchNorm), so that processes can be compared.
_base_ = 'mmpretrain::_base_/default_runtime.py'

data_root = 'data/colours/'
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmela.ClsResNet',
        depth=18,
        stem_channels=8,
        base_channels=8,
        norm_eval=True,
        zero_init_residual=False,  # or the attention would be hidden in the first step
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B', residual='scaled'),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=64, topk=1),
)

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='CenterCrop', crop_size=32),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=6,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root=data_root, data_prefix='train', pipeline=pipeline),
)
val_dataloader = dict(
    batch_size=3,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root=data_root, data_prefix='val', pipeline=pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=1)
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
auto_scale_lr = dict(base_batch_size=12)
randomness = dict(seed=0)
default_hooks = dict(logger=dict(interval=1))
