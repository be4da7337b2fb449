_base_ = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py'

# MMSegmentation's ResNetV1c takes no plugins in basic blocks. `plugins=None` makes this its ResNet-18.
model = dict(
    pretrained='open-mmlab://resnet18_v1c',
    backbone=dict(
        type='mmela.SegResNetV1c',
        depth=18,
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='S', residual=True),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    ),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64),
)
