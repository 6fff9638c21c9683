import subprocess
import sys

CODE = """
import sys
from training.model.light_imports import hidden_packages
import json.tool
with hidden_packages("sklearn", "json"):
    import json
    try:
        import sklearn
    except ImportError as error:
        print(error.name)
import training.trainer.worker as worker
worker._import_models()
import transformers
transformers.AutoModelForCausalLM, transformers.LlamaForCausalLM
print(json.__name__, "sklearn" in sys.modules, "torch._inductor.compile_fx" in sys.modules)
import sklearn
print(sklearn.__name__)
"""


def test_a_worker_imports_models_without_what_it_never_calls() -> None:
    """And what was hidden can be imported afterwards."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["sklearn", "json", "False", "False", "sklearn"], done.stdout
