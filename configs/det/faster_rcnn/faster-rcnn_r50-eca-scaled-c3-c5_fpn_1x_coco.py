_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='mmela.ECA', residual='scaled'),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    )
)
