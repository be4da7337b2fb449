_base_ = './mobilenet-v2-d8_deeplabv3_4xb4-20k_voc12aug-512x512.py'

model = dict(
    backbone=dict(
        type='mmela.SegMobileNetV2',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='S', residual=True),
                position='after_depthwise',
                stages=(False, True, True, True, True, True, True),
            )
        ],
    )
)
