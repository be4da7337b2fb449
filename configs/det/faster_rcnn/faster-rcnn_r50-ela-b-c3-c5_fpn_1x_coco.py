_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

# The paper's plain form. From pretrained weights the authors use `residual=True`.
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
