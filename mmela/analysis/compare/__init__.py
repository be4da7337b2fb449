"""Paired comparisons over seeds: does an attention help on your data?

:mod:`spec` reads what is compared, :mod:`cell` runs one training, :mod:`schedule` runs them all,
:mod:`statistics` says what the numbers show, :mod:`report` and :mod:`figures` write it down.
"""
