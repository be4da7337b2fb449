import logging
from collections import OrderedDict

import pytest
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer


@pytest.fixture(autouse=True)
def own_visualizer(monkeypatch):
    """MMEngine's hooks draw with the visualizer that this process named last."""
    monkeypatch.setattr(Visualizer, '_instance_dict', OrderedDict())


@pytest.fixture
def warned(caplog):
    """A function that returns the warnings of MMEngine's logger since it was called last."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)

    def take():
        messages = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        caplog.clear()
        return messages

    yield take
    logger.removeHandler(caplog.handler)
