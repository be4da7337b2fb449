_base_ = '../deeplabv3/deeplabv3_r18-ela-b_clothes.py'

# MobileNetV2 of half the width at output stride 16, from random weights.
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmela.SegMobileNetV2',
        widen_factor=0.5,
        strides=(1, 2, 2, 2, 1, 1, 1),
        dilations=(1, 1, 1, 1, 1, 2, 2),
        out_indices=(4, 6),
        norm_cfg=norm_cfg,
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B'),
                position='after_depthwise',
            )
        ],
    ),
    decode_head=dict(in_channels=160, in_index=1),
    auxiliary_head=dict(in_channels=48, in_index=0),
)
