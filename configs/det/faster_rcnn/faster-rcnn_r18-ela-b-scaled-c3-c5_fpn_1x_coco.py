_base_ = './faster-rcnn_r18_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        type='mmela.DetResNet',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B', residual='scaled'),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    )
)
