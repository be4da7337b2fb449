_base_ = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py'

# The paper's plain form. From pretrained weights the authors use `residual=True`.
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='S'),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    )
)
