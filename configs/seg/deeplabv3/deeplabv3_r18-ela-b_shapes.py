_base_ = './deeplabv3_r18_shapes.py'

# Trained without attention on other scenes; weights/README.md has the command.
load_from = 'weights/deeplabv3_r18_shapes.pth'

model = dict(
    backbone=dict(
        type='mmela.SegResNetV1c',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B', residual='scaled'),
                position='after_conv2',
                stages=(False, True, True, True),
            )
        ],
    )
)

# A small learning rate for the trained layers, ten times as much for the new ones.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(ela=dict(lr_mult=10))),
)
