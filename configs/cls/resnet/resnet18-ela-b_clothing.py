_base_ = ['mmpretrain::_base_/models/resnet18.py', '../../_base_/clothing.py']

# Half the width, small enough to train on two CPU cores.
model = dict(
    backbone=dict(
        type='mmela.ClsResNet',
        stem_channels=32,
        base_channels=32,
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B'),
                position='after_conv2',
            )
        ],
    ),
    head=dict(num_classes=10, in_channels=256, topk=1),
)
