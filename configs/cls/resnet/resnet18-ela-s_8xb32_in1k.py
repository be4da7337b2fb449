_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'

model = dict(
    backbone=dict(
        type='mmela.ClsResNet',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='S'),
                position='after_conv2',
            )
        ],
    )
)
