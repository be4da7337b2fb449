_base_ = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py'

# `scale` starts at zero, so the training starts exactly from the pretrained network.
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='S', residual='scaled'),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    )
)
