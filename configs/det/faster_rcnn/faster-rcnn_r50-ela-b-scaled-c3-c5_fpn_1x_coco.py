_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

# `scale` starts at zero, so the training starts exactly from the pretrained network.
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B', residual='scaled'),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    )
)
