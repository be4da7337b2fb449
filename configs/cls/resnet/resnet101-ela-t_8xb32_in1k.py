_base_ = 'mmpretrain::resnet/resnet101_8xb32_in1k.py'

model = dict(
    backbone=dict(
        type='mmela.ClsResNet',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='T'),
                position='after_conv2',
            )
        ],
    )
)
