_base_ = './mobilenet-v2_8xb32-200e_in1k.py'

model = dict(
    backbone=dict(
        type='mmela.ClsMobileNetV2',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='L'),
                position='after_depthwise',
            )
        ],
    )
)
