"""Which architectures vLLM can adapt, read from its source: importing it to ask takes ten seconds.

vLLM asks the class of a model (model_executor/models/interfaces.py, SupportsLoRA). Here the class is found in its
registry, and its bases are followed through the files that they are imported from.
"""

import ast
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_MARK = "SupportsLoRA"
_MODELS = "vllm.model_executor.models"


def supports_adapters(architectures: Iterable[str]) -> bool:
    """Whether vLLM can serve adapters to a model with these architectures (`config.json`).

    True where the installed vLLM does not say: where it has no class of that name, or where none is installed. The
    engine then says it itself when it starts.
    """
    known = [known_support(architecture) for architecture in architectures]
    return not known or any(supported is not False for supported in known)


@cache
def known_support(architecture: str) -> bool | None:
    """What the installed vLLM has for one architecture; None where it has no class for it."""
    folder, place = models_folder(), registered_classes().get(architecture)
    if folder is None or place is None:
        return None
    module, name = place
    return _is_marked(module if module.startswith("vllm.") else f"{_MODELS}.{module}", name, frozenset())


@cache
def registered_classes() -> dict[str, tuple[str, str]]:
    """The module and class of each architecture, as vLLM's registry has them; empty where vLLM is not installed."""
    folder = models_folder()
    if folder is None:
        return {}
    tables: dict[str, tuple[str, str]] = {}
    for node in ast.parse((folder / "registry.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple):
                    module, name = (part.value for part in value.elts if isinstance(part, ast.Constant))
                    tables[str(key.value)] = (str(module), str(name))
    return tables


def models_folder() -> Path | None:
    """The folder of vLLM's models; None where vLLM is not installed."""
    spec = find_spec("vllm")
    return Path(spec.origin).parent / "model_executor" / "models" if spec and spec.origin else None


def _is_marked(module: str, name: str, seen: frozenset[tuple[str, str]]) -> bool | None:
    """Whether a class has the mark among its bases; None where a base is made by a call, or is nowhere to be read."""
    if name == _MARK:
        return True
    tree = _parsed(module)
    if tree is None or (module, name) in seen:
        return False  # a class of another package, such as torch.nn.Module
    seen |= {(module, name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            answers = {_sets_mark(node), *(_base_is_marked(module, base, seen) for base in node.bases)}
            return True if True in answers else None if None in answers else False
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _is_marked(_absolute(module, node), alias.name, seen)
        if isinstance(node, ast.Assign) and name in {_name(target) for target in node.targets}:
            return None
    return False


def _base_is_marked(module: str, base: ast.expr, seen: frozenset[tuple[str, str]]) -> bool | None:
    return _is_marked(module, name, seen) if (name := _name(base)) else None


def _sets_mark(node: ast.ClassDef) -> bool:
    """`supports_lora = True` in the class itself."""
    return any(
        isinstance(line, ast.Assign | ast.AnnAssign)
        and isinstance(line.value, ast.Constant)
        and line.value.value is True
        and "supports_lora" in map(_name, line.targets if isinstance(line, ast.Assign) else [line.target])
        for line in node.body
    )


def _name(node: ast.expr) -> str:
    """The name of a base; of `Base[Type]` that of Base, of `module.Base` its last part."""
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


@cache
def _parsed(module: str) -> ast.Module | None:
    path = _file(module)
    return ast.parse(path.read_text(encoding="utf-8")) if path else None


def _file(module: str) -> Path | None:
    folder = models_folder()
    if folder is None or not module.startswith("vllm."):
        return None
    path = folder.parents[2].joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _absolute(module: str, node: ast.ImportFrom) -> str:
    """The module that a relative import in `module` means."""
    if not node.level:
        return node.module or ""
    file = _file(module)
    package = module.split(".") if file and file.name == "__init__.py" else module.split(".")[:-1]
    base = package[: len(package) - (node.level - 1)]
    return ".".join([*base, *([node.module] if node.module else [])])
