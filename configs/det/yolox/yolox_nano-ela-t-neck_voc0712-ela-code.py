# The same network for the weights of ELA's authors, converted by
# tools/model_converters/ela_code_yolox.py. The input is prepared as in their code: RGB / 255,
# normalised by the mean and standard deviation of ImageNet, centred on a grey canvas.
# docs/authors_checkpoint.md has the commands.
_base_ = './yolox_nano-ela-t-neck_voc0712.py'

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    bbox_head=dict(type='mmela.LetterboxYOLOXHead'),
    # The thresholds behind their published mAP (EvalCallback in their YOLOX/utils/callbacks.py).
    test_cfg=dict(score_thr=0.05, nms=dict(iou_threshold=0.5)))

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmela.ELACodeLetterbox', size=(640, 640), pad_val=128),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'border'))
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
