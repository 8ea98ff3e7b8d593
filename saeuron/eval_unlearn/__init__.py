"""For eval-unlearn, the benchmark of unlearning techniques: what it draws with, and a metric with our judges.

It finds `technique` and `metric` by the entry points in pyproject.toml; its own ``saeuron`` technique imports
`saeuron.SAeUronPipeline`, which is `pipeline`'s.
"""
