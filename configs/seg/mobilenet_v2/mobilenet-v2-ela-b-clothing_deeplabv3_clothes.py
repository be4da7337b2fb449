_base_ = './mobilenet-v2-ela-b_deeplabv3_clothes.py'

# Start from a classifier that has the same attention:
# configs/cls/mobilenet_v2/mobilenet-v2-ela-b_clothing.py.
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='work_dirs/mobilenet-v2-ela-b_clothing/epoch_20.pth',
        )
    )
)
