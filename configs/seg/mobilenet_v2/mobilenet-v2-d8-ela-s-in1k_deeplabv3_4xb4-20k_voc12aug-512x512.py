_base_ = './mobilenet-v2-d8_deeplabv3_4xb4-20k_voc12aug-512x512.py'

# Start from a classifier that has the same attention:
# configs/cls/mobilenet_v2/mobilenet-v2-ela-s_8xb32_in1k.py.
model = dict(
    pretrained=None,
    backbone=dict(
        type='mmela.SegMobileNetV2',
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='work_dirs/mobilenet-v2-ela-s_8xb32_in1k/epoch_300.pth',
        ),
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='S'),
                position='after_depthwise',
            )
        ],
    ),
)
