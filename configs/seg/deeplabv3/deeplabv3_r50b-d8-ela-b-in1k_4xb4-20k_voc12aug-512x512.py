_base_ = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py'

# Start from a classifier that has the same attention: configs/cls/resnet/resnet50-ela-b_8xb32_in1k.py.
# It is a ResNet, whose stem differs from that of ResNetV1c.
model = dict(
    pretrained=None,
    backbone=dict(
        type='ResNet',
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='work_dirs/resnet50-ela-b_8xb32_in1k/epoch_100.pth',
        ),
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B'),
                position='after_conv2',
            )
        ],
    ),
)
