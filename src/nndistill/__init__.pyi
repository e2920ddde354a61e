from . import methods, wavelets
from .analysis.diagnosis import diagnose
from .datasets.phantom import generate_phantom
from .distiller import Distiller, DistillerOutput
from .errors import UserError
from .evaluation.comparison import compare
from .evaluation.folder import evaluate_folder
from .export.export import export_model
from .gather import EvaluationSettings, gather_results
from .methods import Activations, Method, build_method
from .nnunet.data.preprocessing import plan_and_preprocess
from .nnunet.training.run import train
from .nnunet.training.student import prepare_student
from .nnunet.training.teacher import prepare_teacher
from .recipes import Recipe, load_recipe
from .reporting.report import write_report
from .runtime.cases import find_cases
from .runtime.loading import load_model
from .runtime.predictor import predict_cases

__all__ = [
    "Activations",
    "Distiller",
    "DistillerOutput",
    "EvaluationSettings",
    "Method",
    "Recipe",
    "UserError",
    "build_method",
    "compare",
    "diagnose",
    "evaluate_folder",
    "export_model",
    "find_cases",
    "gather_results",
    "generate_phantom",
    "load_model",
    "load_recipe",
    "methods",
    "plan_and_preprocess",
    "predict_cases",
    "prepare_student",
    "prepare_teacher",
    "train",
    "wavelets",
    "write_report",
]
__version__: str
