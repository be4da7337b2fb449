_base_ = './faster-rcnn_r18_fpn_2x_coco.py'

model = dict(
    backbone=dict(
        type='mmela.DetResNet',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B', residual=True),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    )
)
