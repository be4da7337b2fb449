_base_ = 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py'

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
