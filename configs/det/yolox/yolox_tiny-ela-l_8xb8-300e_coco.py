_base_ = 'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py'

model = dict(
    backbone=dict(
        type='mmela.CSPDarknet',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='L'),
                position='after_stage',
                stages=(False, True, True, True),
            )
        ],
    )
)
