_base_ = './yolox_nano_shapes.py'

# Trained without attention on other scenes; weights/README.md has the command.
load_from = 'weights/yolox_nano_shapes.pth'

model = dict(
    backbone=dict(
        type='mmela.CSPDarknet',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='T', residual='scaled'),
                position='after_stage',
                stages=(False, True, True, True),
            )
        ],
    )
)

# A small learning rate for the trained layers, ten times as much for the new ones.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(ela=dict(lr_mult=10))),
)
