_base_ = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py'

model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='mmela.CBAM', norm_cfg=dict(type='SyncBN', momentum=0.01), residual='scaled'),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    )
)
