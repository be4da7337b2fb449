"""What `make demo` shows: two trained networks that are given attention and fine-tuned."""

from demo.run import run_demo

__all__ = ['run_demo']
