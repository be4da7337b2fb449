"""What the files of a data set hold, against what the config says: before a run, or all of it."""

from mmela.engine.checks.dataset.content import check_dataset_content, findings_of

__all__ = ['check_dataset_content', 'findings_of']
