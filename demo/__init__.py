"""`make demo`: two trained networks get attention and are fine-tuned on generated scenes.

`tasks` lists the networks, `run` the steps; `scenes` and `dataset` generate the data, `drawing` the
images of the results.
"""

from demo.run import run_demo

__all__ = ['run_demo']
