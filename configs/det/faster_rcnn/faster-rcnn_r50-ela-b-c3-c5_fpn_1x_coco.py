_base_ = ['mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', '../../_base_/plugins_c3_c5.py']

model = dict(backbone=dict(plugins={{_base_.ela_b_scaled_c3_c5}}))
