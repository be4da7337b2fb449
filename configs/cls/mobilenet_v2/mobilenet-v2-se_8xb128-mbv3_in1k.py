_base_ = './mobilenet-v2_8xb128-mbv3_in1k.py'

model = dict(
    backbone=dict(
        type='mmela.ClsMobileNetV2',
        plugins=[
            dict(
                cfg=dict(type='mmela.SE'),
                position='after_depthwise',
            )
        ],
    )
)
