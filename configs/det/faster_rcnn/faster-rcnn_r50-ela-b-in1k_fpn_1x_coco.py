_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

# Start from a classifier that has the same attention: configs/cls/resnet/resnet50-ela-b_8xb32_in1k.py.
model = dict(
    backbone=dict(
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
    )
)
