_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'

model = dict(
    backbone=dict(
        type='mmela.ClsResNet',
        plugins=[
            dict(
                cfg=dict(type='mmela.CBAM'),
                position='after_conv2',
            )
        ],
    )
)
