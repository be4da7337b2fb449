_base_ = 'mmdet::yolox/yolox_x_8xb8-300e_coco.py'

model = dict(
    backbone=dict(
        type='mmela.CSPDarknet',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B'),
                position='after_stage',
                stages=(False, True, True, True),
            )
        ],
    )
)
