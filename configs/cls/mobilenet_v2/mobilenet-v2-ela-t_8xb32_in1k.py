_base_ = 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py'

model = dict(
    backbone=dict(
        type='mmela.ClsMobileNetV2',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='T'),
                position='after_depthwise',
            )
        ],
    )
)
