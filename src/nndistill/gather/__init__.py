"""From nnU-Net's folders to what a report takes: models with their metrics, and the cases that they predicted."""

from .kept_metrics import EvaluationSettings
from .model_folders import gather_results

__all__ = ["EvaluationSettings", "gather_results"]
