_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

# MMDetection's ResNet takes no plugins in basic blocks. `plugins=None` makes this its ResNet-18.
model = dict(
    backbone=dict(
        type='mmela.DetResNet',
        depth=18,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'),
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B', residual=True),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
