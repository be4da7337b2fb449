"""The config that fits a converted YOLOX, and the preprocessing it was trained with."""

from __future__ import annotations

from convert_yolox.weights import ConvertedYOLOX

_CONFIGS = 'configs/det/yolox'
#: The authors' network on VOC with their preprocessing, including the letterbox.
_CONFIG_OF_ELA_CODE = f'{_CONFIGS}/yolox_nano-ela-t-neck_voc0712-ela-code.py'

#: The authors' preprocessing as settings of MMDetection: RGB / 255, normalised by ImageNet's mean
#: and standard deviation (their ``YOLOX/utils/utils.py``).
PREPROCESSING_OF_ELA_CODE = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
)


def images_of(from_ela_code: bool) -> str:
    """Describes the images that a network was trained on.

    Args:
        from_ela_code: Whether it comes from the authors of ELA instead of Megvii.
    """
    if from_ela_code:
        return (
            f"RGB / 255, normalised by ImageNet's mean and deviation, as in {_CONFIG_OF_ELA_CODE}"
        )
    return (
        'BGR from 0 to 255, as in the configs of MMDetection; a checkpoint does not record it. For '
        'model_data/yolox_nano.pth of ELA_Code use ela_code_yolox.py, and note that the legacy '
        'models of Megvii were trained on normalised RGB too'
    )


def config_for(converted: ConvertedYOLOX, from_ela_code: bool) -> str:
    """Finds the config with the network and the preprocessing of a checkpoint.

    Args:
        converted: The checkpoint.
        from_ela_code: Whether it comes from the authors of ELA instead of Megvii.

    Returns:
        Its name and the options it needs, as on a command line.
    """
    size, num_classes = converted.size, converted.num_classes
    options = []
    if size == 'nano' and from_ela_code and (converted.variant or num_classes != 80):
        config, classes_there = _CONFIG_OF_ELA_CODE, 20
        if converted.variant is None:
            options.append('model.neck.plugins=None')
        elif converted.variant != 'T':
            options.append(f'model.neck.plugins.0.cfg.variant={converted.variant}')
    else:
        config, classes_there = f'mmdet::yolox/yolox_{size}_8xb8-300e_coco.py', 80
        if size is None:
            config, classes_there = 'a config of the same depth and width', num_classes
        elif (size, num_classes) == ('nano', 20):
            config, classes_there = f'{_CONFIGS}/yolox_nano_voc0712.py', 20
        if from_ela_code:
            options += [
                f'"model.data_preprocessor.{name}={value}"'.replace(' ', '')
                for name, value in PREPROCESSING_OF_ELA_CODE.items()
            ]
    if num_classes != classes_there:
        options.append(f'model.bbox_head.num_classes={num_classes}')
    return f'{config} with --cfg-options {" ".join(options)}' if options else config
