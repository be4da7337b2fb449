"""Small folders as VOC and SBD have them."""

from __future__ import annotations

import cv2
import numpy as np


def write_jpeg(path, width=60, height=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


def voc_object(name, box, difficult=0):
    corners = ''.join(
        f'<{tag}>{value}</{tag}>'
        for tag, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
    )
    flag = '' if difficult is None else f'<difficult>{difficult}</difficult>'
    part = f'<part><name>head</name><bndbox>{corners}</bndbox></part>'
    return f'<object><name>{name}</name>{flag}<bndbox>{corners}</bndbox>{part}</object>'


def write_voc(folder, images, **lists):
    for name, objects in images.items():
        write_jpeg(folder / 'JPEGImages' / f'{name}.jpg')
        xml = folder / 'Annotations' / f'{name}.xml'
        xml.parent.mkdir(parents=True, exist_ok=True)
        size = '<size><width>60</width><height>40</height><depth>3</depth></size>'
        xml.write_text(f'<annotation>{size}{"".join(objects)}</annotation>')
    for split, names in lists.items():
        path = folder / 'ImageSets' / 'Main' / f'{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(f'{name}\n' for name in names))
