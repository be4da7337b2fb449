_base_ = 'mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'

model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B'),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    )
)
