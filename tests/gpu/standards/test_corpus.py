"""Small scripts, good and bad, and which rules each of them breaks."""

from __future__ import annotations

from textwrap import dedent

import pytest

from model_manager.gpu import GpuPolicy
from model_manager.gpu.standards._checked import check_data
from model_manager.gpu.standards._wanted import wanted_of

ENV = """\
import os
os.environ["CUDA_VISIBLE_DEVICES"] = "1"
os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "max_split_size_mb:1024"
"""
OURS = """\
from model_manager.gpu import apply_gpu_environment, validate_rtx3090_mandatory
apply_gpu_environment()
validate_rtx3090_mandatory()
"""
MAP = """\
{"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
 "PYTORCH_ALLOC_CONF": "max_split_size_mb:1024"}"""
WIKI = '''\
import os

# CONFIGURATION CRITIQUE GPU - RTX 3090 UNIQUEMENT
# Cette configuration assure que seul le bon GPU est visible et utilisé par CUDA.
os.environ['CUDA_VISIBLE_DEVICES'] = '1'        # Cible la RTX 3090 sur le bus PCI 1.
os.environ['CUDA_DEVICE_ORDER'] = 'PCI_BUS_ID'  # Assure que l'ID est basé sur le bus physique.
os.environ['PYTORCH_CUDA_ALLOC_CONF'] = 'max_split_size_mb:1024'  # Optimisation de la fragmentation mémoire.
import torch

def validate_rtx3090_mandatory():
    """Valide que l'environnement respecte les standards stricts pour la RTX 3090."""
    if not torch.cuda.is_available():
        raise RuntimeError("ERREUR CRITIQUE: CUDA n'est pas disponible.")

    if os.environ.get('CUDA_VISIBLE_DEVICES') != '1':
        raise RuntimeError("ERREUR DE CONFIGURATION: CUDA_VISIBLE_DEVICES doit être '1'.")

    gpu_name = torch.cuda.get_device_name(0) # Doit être 0 car CUDA_VISIBLE_DEVICES mappe le device '1' à l'index '0'
    if "RTX 3090" not in gpu_name:
        raise RuntimeError(f"ERREUR CRITIQUE: Le GPU détecté est '{gpu_name}'. Seule la RTX 3090 est autorisée.")

    print("✅ Configuration GPU RTX 3090 validée avec succès.")

# Appeler cette fonction au début de l'exécution principale.
validate_rtx3090_mandatory()
'''  # noqa: E501 - the team's own example, word for word

GOOD: dict[str, str] = {
    "the team's own example": WIKI,
    "its example, and work": WIKI + "torch.zeros(3).cuda()\n",
    "nothing of CUDA": "import os\nimport json\nprint(json.dumps(dict(os.environ)))\n",
    "our two calls": OURS + "import torch\ntorch.zeros(1, device='cuda')\n",
    "our module under another name": """
        import model_manager.gpu as g
        g.apply_gpu_environment()
        import torch
        g.validate_rtx3090_mandatory()
        torch.zeros(1).to("cuda:0")
        """,
    "our module from its package": """
        from model_manager import gpu
        gpu.apply_gpu_environment()
        gpu.check_gpu().raise_for_failure()
        import cupy
        cupy.zeros(3)
        """,
    "a verdict that is kept": """
        from model_manager.gpu import apply_gpu_environment, check_gpu
        apply_gpu_environment()
        verdict = check_gpu()
        verdict.raise_for_failure()
        import torch
        torch.cuda.synchronize()
        """,
    "our variables as a dictionary": """
        import os
        from model_manager.gpu import gpu_environment
        os.environ.update(gpu_environment())
        import torch
        """,
    "aliases": """
        import os as o
        e = o.environ
        e["CUDA_VISIBLE_DEVICES"] = "1"
        o.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        from os import environ as env
        env["PYTORCH_ALLOC_CONF"] = "max_split_size_mb:1024"
        import torch
        """,
    "update with a dictionary": f"import os\nos.environ.update({MAP})\nimport torch\n",
    "update with keywords": """
        import os
        os.environ.update(CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_ORDER="PCI_BUS_ID",
                          PYTORCH_CUDA_ALLOC_CONF="max_split_size_mb:1024")
        import torch
        """,
    "update with a constant": (
        f"import os\nC = {MAP}\nos.environ.update(C)\nimport torch\n"
    ),
    "update with a spread": (
        f"import os\nC = {MAP}\nos.environ.update(**C)\nimport jax\n"
    ),
    "merged in place": f"import os\nos.environ |= {MAP}\nimport torch\n",
    "a loop over a dictionary": f"""
import os
for name, value in {MAP}.items():
    os.environ[name] = value
import torch
""",
    "a loop over pairs": """
        import os
        for k, v in (("CUDA_VISIBLE_DEVICES", "1"), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
                     ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:1024")):
            os.environ[k] = v
        import torch
        """,
    "constants of the module": """
        import os
        GPU = 1
        SIZE = 1024
        os.environ["CUDA_VISIBLE_DEVICES"] = str(GPU)
        os.environ["CUDA_DEVICE_ORDER"] = "PCI" + "_BUS_ID"
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = f"max_split_size_mb:{SIZE}"
        import torch
        """,
    "constants of a class": """
        import os
        class Settings:
            gpu = "1"
        os.environ["CUDA_VISIBLE_DEVICES"] = Settings.gpu
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "max_split_size_mb:1024"
        import torch
        """,
    "a function called before the import": """
        import os
        def prepare(card="1"):
            os.environ["CUDA_VISIBLE_DEVICES"] = card
            os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
            os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "max_split_size_mb:1024"
        prepare()
        import torch
        """,
    "everything inside one function": """
        import os
        def main():
            os.environ["CUDA_VISIBLE_DEVICES"] = "1"
            os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
            os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "max_split_size_mb:1024"
            import torch
        if __name__ == "__main__":
            main()
        """,
    "both ways set the same": """
        import os, sys
        if sys.platform == "win32":
            os.environ["CUDA_VISIBLE_DEVICES"] = "1"
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = "1"
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "max_split_size_mb:1024"
        import torch
        """,
    "more settings of the allocator": ENV.replace(
        "mb:1024", "mb:1024,expandable_segments:True"
    )
    + "import torch\n",
    "a default that comes second": ENV
    + 'os.environ.setdefault("CUDA_VISIBLE_DEVICES", "1")\nimport torch\n',
    "types only": """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import torch
        def size(x: torch.Tensor) -> int:
            return x.numel()
        """,
    "types only, by its module": """
        import typing as t
        if t.TYPE_CHECKING:
            import torch
        """,
    "only a comment": "# import torch with CUDA_VISIBLE_DEVICES=0, cuda:1\nx = 1\n",
    "only a docstring": '"""import torch, then cuda:1; CUDA_VISIBLE_DEVICES=0."""\n',
    "validated in main": ENV
    + """
import torch
from model_manager.gpu import validate_rtx3090_mandatory
def train():
    torch.zeros(1).cuda()
def main():
    validate_rtx3090_mandatory()
    train()
if __name__ == "__main__":
    main()
""",
    "validated in an entry point": ENV
    + """
import torch
from model_manager.gpu import validate_rtx3090_mandatory
def work():
    torch.zeros(1).cuda()
def main():
    validate_rtx3090_mandatory()
    work()
""",
    "validated, and the failure ends it": ENV
    + """
import sys
import torch
from model_manager.gpu import validate_rtx3090_mandatory
try:
    validate_rtx3090_mandatory()
except Exception as error:
    print(error)
    sys.exit(1)
torch.zeros(1).cuda()
""",
    "validated in a method": ENV
    + """
import torch
from model_manager.gpu import validate_rtx3090_mandatory
class Worker:
    def __init__(self):
        validate_rtx3090_mandatory()
    def run(self):
        torch.zeros(1).cuda()
worker = Worker()
worker.run()
""",
    "torch on the processor": ENV + "import torch\nprint(torch.zeros(3).to('cpu'))\n",
    "a card that is mapped away": (
        OURS + "import torch\ntorch.load('x', map_location={'cuda:1': 'cuda:0'})\n"
    ),
    "torch with other numbers": (
        ENV + "import torch\nprint(torch.zeros(3).to(torch.float16))\n"
    ),
    "only questions": ENV + "import torch\nprint(torch.cuda.is_available())\n",
    "a device that is compared": OURS
    + 'import torch\nimport sys\nif sys.argv[1] == "cuda:1":\n    raise SystemExit\n',
    "another library's device": OURS
    + "import torch\nimport sounddevice\nsounddevice.play(1, device=3)\n",
    "a relative import": "from . import torch\nfrom .cuda import x\n",
    "its environment for a child": ENV
    + "import subprocess\nsubprocess.run(['a'], env={**os.environ, 'X': 'y'})\n",
    "a suppressed line": (
        "import torch  # gpu-standards: ignore[environment-missing] CPU build only\n"
    ),
    "a suppression above": ENV
    + "import torch\n"
    + "# gpu-standards: ignore[GPU020] the second card of the test rig\n"
    + 'x = "cuda:1"\n',
    "a switch that never is": "if False:\n    import torch\n",
    "an unreached import": "import sys\nsys.exit(0)\nimport torch\n",
    "one GPU for Lightning": OURS
    + "import lightning as L\nL.Trainer(accelerator='gpu', devices=1)\n",
    "numba without CUDA": "import numba\n@numba.njit\ndef cuda(x):\n    return x\n",
}

BAD: dict[str, tuple[str, str]] = {
    "no environment": ("import torch\n", "GPU001"),
    "import before environment": ("import torch\n" + ENV, "GPU002"),
    "from import": ("from torch import nn\n", "GPU001"),
    "submodule": ("import torch.nn as nn\n", "GPU001"),
    "star": ("from torch import *\n", "GPU001"),
    "import_module": ("import importlib\nimportlib.import_module('torch')\n", "GPU001"),
    "import_module by constant": (
        "from importlib import import_module as im\nM = 'jax'\nim(M)\n",
        "GPU001",
    ),
    "__import__": ("x = __import__('cupy')\n", "GPU001"),
    "exec": ("exec('import torch')\n", "GPU001"),
    "numba.cuda": ("from numba import cuda\n", "GPU001"),
    "in a function": ("def f():\n    import torch\n", "GPU001"),
    "in a function called first": (
        "def f():\n    import torch\nf()\n" + ENV,
        "GPU002",
    ),
    "in try": (
        "try:\n    import torch\nexcept ImportError:\n    torch = None\n" + ENV,
        "GPU002",
    ),
    "in a method": (
        "class A:\n    def load(self):\n        import vllm\nA().load()\n" + ENV,
        "GPU002",
    ),
    "in a thread": (
        "from threading import Thread\n"
        "def f():\n    import torch\nThread(target=f).start()\n" + ENV,
        "GPU002",
    ),
    "in a lambda": ("f = lambda: __import__('torch')\n", "GPU001"),
    "only one variable": (
        "import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '1'\nimport torch\n",
        "GPU001",
    ),
    "a function that nothing calls": (
        (
            "import os\ndef setup():\n"
            "    os.environ['CUDA_VISIBLE_DEVICES'] = '1'\n"
            "    os.environ['CUDA_DEVICE_ORDER'] = 'PCI_BUS_ID'\n"
            "    os.environ['PYTORCH_CUDA_ALLOC_CONF'] = 'max_split_size_mb:1024'\n"
            "import torch\n"
        ),
        "GPU002",
    ),
    "a function called too late": (
        "import os\ndef setup():\n    os.environ.update(" + MAP + ")\n"
        "import torch\nsetup()\n",
        "GPU002",
    ),
    "a generator that never starts": (
        "import os\ndef setup():\n    os.environ.update(" + MAP + ")\n    yield\n"
        "setup()\nimport torch\n",
        "GPU003",
    ),
    "a lambda that nothing calls": (
        "import os\nf = lambda: os.environ.update(" + MAP + ")\nimport torch\n",
        "GPU003",
    ),
    "in the main guard": (
        "import os\nimport torch\nif __name__ == '__main__':\n"
        "    os.environ.update(" + MAP + ")\n",
        "GPU002",
    ),
    "in the main guard, for a function that others call": (
        "import os\ndef main():\n    import torch\n"
        "if __name__ == '__main__':\n    os.environ.update(" + MAP + ")\n    main()\n",
        "GPU002",
    ),
    "reading is not setting": (
        (
            "import os\nos.environ.get('CUDA_VISIBLE_DEVICES', '1')\n"
            "assert os.environ['CUDA_DEVICE_ORDER'] == 'PCI_BUS_ID'\nimport torch\n"
        ),
        "GPU001",
    ),
    "a comment is not setting": (
        "# os.environ['CUDA_VISIBLE_DEVICES'] = '1'\nimport torch\n",
        "GPU001",
    ),
    "a docstring is not setting": (f'"""\n{ENV}"""\nimport torch\n', "GPU001"),
    "under a condition": (
        "import os, sys\nif len(sys.argv) > 1:\n    os.environ.update(" + MAP + ")\n"
        "import torch\n",
        "GPU003",
    ),
    "only where it is missing": (
        "import os\nif 'CUDA_VISIBLE_DEVICES' not in os.environ:\n"
        "    os.environ.update(" + MAP + ")\nimport torch\n",
        "GPU003",
    ),
    "behind and": (
        "import os, sys\nsys.argv and os.environ.update(" + MAP + ")\nimport torch\n",
        "GPU003",
    ),
    "in try that may fail": (
        "import os\ntry:\n    open('x')\n    os.environ.update(" + MAP + ")\n"
        "except OSError:\n    pass\nimport torch\n",
        "GPU003",
    ),
    "in a block that swallows": (
        "import os\nfrom contextlib import suppress\nwith suppress(OSError):\n"
        "    open('x')\n    os.environ.update(" + MAP + ")\nimport torch\n",
        "GPU003",
    ),
    "in a loop that may not run": (
        "import os, sys\nfor a in sys.argv:\n    os.environ.update(" + MAP + ")\n"
        "import torch\n",
        "GPU003",
    ),
    "in one case of several": (
        "import os, sys\nmatch sys.argv:\n    case [_]:\n"
        "        os.environ.update(" + MAP + ")\nimport torch\n",
        "GPU003",
    ),
    "behind type checking": (
        "import os\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    os.environ.update(" + MAP + ")\nimport torch\n",
        "GPU001",
    ),
    "not type checking": (
        "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    import torch\n",
        "GPU001",
    ),
    "the other way of type checking": (
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    x = 1\n"
            "else:\n    import torch\n"
        ),
        "GPU001",
    ),
    "the wrong card": (ENV.replace('"1"', '"0"') + "import torch\n", "GPU004"),
    "both cards": (ENV.replace('"1"', '"0,1"') + "import torch\n", "GPU004"),
    "a number": (ENV.replace('"1"', "1") + "import torch\n", "GPU004"),
    "a foreign UUID": (
        ENV.replace('"1"', '"GPU-11111111-2222-3333-4444-555555555555"')
        + "import torch\n",
        "GPU004",
    ),
    "the wrong order": (
        ENV.replace("PCI_BUS_ID", "FASTEST_FIRST") + "import torch\n",
        "GPU004",
    ),
    "another split": (ENV.replace("mb:1024", "mb:512") + "import torch\n", "GPU004"),
    "perhaps the wrong card": (
        ENV.replace('"1"', '"1" if os.name == "nt" else "0"') + "import torch\n",
        "GPU004",
    ),
    "overwritten afterwards": (
        ENV + "import torch\nos.environ['CUDA_VISIBLE_DEVICES'] = '0'\n",
        "GPU004",
    ),
    "a constant that changes": (
        "import os, sys\nGPU = '1'\nif sys.argv:\n    GPU = '0'\n"
        + ENV.replace('"1"', "GPU")
        + "import torch\n",
        "GPU004",
    ),
    "read from a file": (
        ENV.replace('"1"', "open('gpu').read()") + "import torch\n",
        "GPU005",
    ),
    "read from the environment": (
        ENV.replace('"1"', "os.environ.get('GPU', '1')") + "import torch\n",
        "GPU005",
    ),
    "from another module": (
        "from settings import GPU\n" + ENV.replace('"1"', "GPU") + "import torch\n",
        "GPU005",
    ),
    "a mapping from a file": (
        (
            "import json, os\nos.environ.update(json.load(open('env.json')))\n"
            "import torch\n"
        ),
        "GPU005",
    ),
    "another policy": (
        (
            "from model_manager.gpu import apply_gpu_environment as a, GpuPolicy\n"
            "a(GpuPolicy(visible_devices='0'))\nimport torch\n"
        ),
        "GPU005",
    ),
    "a default": (
        ENV.replace('["CUDA_VISIBLE_DEVICES"] =', '.setdefault("CUDA_VISIBLE_DEVICES",')
        .replace(', "1"', ', "1")')
        .replace('"CUDA_VISIBLE_DEVICES", "1"\n', '"CUDA_VISIBLE_DEVICES", "1")\n')
        + "import torch\n",
        "GPU006",
    ),
    "putenv": (
        (
            "import os\nos.putenv('CUDA_VISIBLE_DEVICES', '1')\n"
            "os.environ['CUDA_DEVICE_ORDER'] = 'PCI_BUS_ID'\n"
            "os.environ['PYTORCH_CUDA_ALLOC_CONF'] = 'max_split_size_mb:1024'\n"
            "import torch\n"
        ),
        "GPU007 GPU001",
    ),
    "popped": (
        ENV + "import torch\nos.environ.pop('CUDA_VISIBLE_DEVICES', None)\n",
        "GPU008",
    ),
    "deleted before": (
        ENV + "del os.environ['CUDA_VISIBLE_DEVICES']\nimport torch\n",
        "GPU008 GPU002",
    ),
    "a child's environment": (
        (
            "import os, subprocess\nsubprocess.run(['python', 'x.py'],"
            " env={**os.environ, 'CUDA_VISIBLE_DEVICES': '0'})\n"
        ),
        "GPU009",
    ),
    "a child's environment, copied": (
        (
            "import os, subprocess\nenv = os.environ.copy()\n"
            "env['CUDA_VISIBLE_DEVICES'] = '0,1'\nsubprocess.Popen(['x'], env=env)\n"
        ),
        "GPU009",
    ),
    "a child's environment, by dict()": (
        (
            "import os, subprocess\n"
            "subprocess.run(['x'], env=dict(os.environ, CUDA_VISIBLE_DEVICES='0'))\n"
        ),
        "GPU009",
    ),
    "a command in a text": (
        "import os\nos.system('CUDA_VISIBLE_DEVICES=0 python train.py')\n",
        "GPU009",
    ),
    "never validated": (ENV + "import torch\ntorch.zeros(1).cuda()\n", "GPU010"),
    "never validated, by device": (
        ENV + "import torch\ntorch.zeros(1, device='cuda')\n",
        "GPU010",
    ),
    "never validated, by to": (
        ENV + "import torch\ndef f(model, device):\n    return model.to(device)\n",
        "GPU010",
    ),
    "never validated, torch.device": (
        ENV + "import torch\nd = torch.device('cuda' if torch.cuda.is_available() else "
        "'cpu')\n",
        "GPU010",
    ),
    "never validated, by any accelerator": (
        ENV
        + "import torch\nd = torch.accelerator.current_accelerator()\n"
        + "torch.nn.Linear(1, 1).to(d)\n",
        "GPU010",
    ),
    "never validated, a device of another module": (
        ENV + "import torch, settings\ntorch.zeros(1).to(settings.DEVICE)\n",
        "GPU010",
    ),
    "never validated, by loading": (
        ENV + "import torch\ntorch.load('x', map_location='cuda')\n",
        "GPU010",
    ),
    "never validated, by default": (
        ENV + "import torch\ntorch.set_default_device('cuda')\n",
        "GPU010",
    ),
    "never validated, transformers": (
        ENV
        + "from transformers import AutoModel\n"
        + "AutoModel.from_pretrained('x', device_map='auto')\n",
        "GPU010",
    ),
    "never validated, llama.cpp": (
        ENV + "from llama_cpp import Llama\nLlama('x', n_gpu_layers=-1)\n",
        "GPU010",
    ),
    "never validated, ONNX": (
        ENV
        + "import onnxruntime as rt\n"
        + "rt.InferenceSession('x', providers=['CUDAExecutionProvider'])\n",
        "GPU010",
    ),
    "never validated, TensorFlow": (
        ENV + "import tensorflow as tf\ntf.constant(1)\n",
        "GPU010",
    ),
    "a validation that is only imported": (
        ENV
        + "import torch\nfrom model_manager.gpu import validate_rtx3090_mandatory\n"
        + "torch.zeros(1).cuda()\n",
        "GPU010",
    ),
    "a validation that is defined and not called": (
        WIKI.rpartition("validate_rtx3090_mandatory()")[0] + "torch.zeros(1).cuda()\n",
        "GPU010",
    ),
    "a verdict that nobody looks at": (
        ENV
        + "import torch\nfrom model_manager.gpu import check_gpu\ncheck_gpu()\n"
        + "torch.zeros(1).cuda()\n",
        "GPU010",
    ),
    "validated too late": (
        ENV
        + "import torch\n"
        + "from model_manager.gpu import validate_rtx3090_mandatory as v\n"
        + "torch.zeros(1).cuda()\nv()\n",
        "GPU011",
    ),
    "validated under a condition": (
        ENV
        + "import torch, sys\n"
        + "from model_manager.gpu import validate_rtx3090_mandatory as v\n"
        + "if sys.argv:\n    v()\ntorch.zeros(1).cuda()\n",
        "GPU011",
    ),
    "validated, and the failure swallowed": (
        ENV
        + "import torch\n"
        + "from model_manager.gpu import validate_rtx3090_mandatory as v\n"
        + "try:\n    v()\nexcept Exception:\n    print('never mind')\n"
        + "torch.zeros(1).cuda()\n",
        "GPU011",
    ),
    "a validation that refuses nothing": (
        ENV
        + "import torch\ndef validate_rtx3090_mandatory():\n    print('ok')\n"
        + "validate_rtx3090_mandatory()\ntorch.zeros(1).cuda()\n",
        "GPU012",
    ),
    "another card by name": (OURS + "import torch\nx = 'cuda:1'\n", "GPU020"),
    "another card by parts": (
        OURS + "import torch\nN = 1\nx = f'cuda:{N}'\n",
        "GPU020",
    ),
    "torch.device with a number": (
        OURS + "import torch\ntorch.device('cuda', 1)\n",
        "GPU020",
    ),
    "set_device": (OURS + "import torch\ntorch.cuda.set_device(1)\n", "GPU020"),
    "any accelerator's second": (
        OURS + "import torch\ntorch.accelerator.set_device_index(1)\n",
        "GPU020",
    ),
    "set_device by a constant": (
        OURS + "import torch\nGPU = 1\ntorch.cuda.set_device(GPU)\n",
        "GPU020",
    ),
    "cuda(1)": (OURS + "import torch\ntorch.zeros(1).cuda(1)\n", "GPU020"),
    "device=1": (
        OURS + "from transformers import pipeline\npipeline('x', device=1)\n",
        "GPU020",
    ),
    "device_ids": (
        OURS
        + "import torch\ndef f(m):\n    return torch.nn.DataParallel(m,"
        + " device_ids=[0, 1])\n",
        "GPU020",
    ),
    "device_map with a number": (
        OURS + "import transformers as t\nt.AutoModel.f('x', device_map={'': 1})\n",
        "GPU020",
    ),
    "main_gpu": (
        OURS + "from llama_cpp import Llama\nLlama('x', main_gpu=1)\n",
        "GPU020",
    ),
    "main_gpu as an option": ("options = {'main_gpu': 1, 'num_gpu': 99}\n", "GPU020"),
    "two cards for vLLM": (
        OURS + "from vllm import LLM\nLLM('x', tensor_parallel_size=2)\n",
        "GPU020",
    ),
    "TensorFlow's second card": (
        OURS + "import tensorflow as tf\nwith tf.device('/GPU:1'):\n    pass\n",
        "GPU020",
    ),
    "JAX's second card": (OURS + "import jax\njax.devices()[1]\n", "GPU020"),
    "JAX's second card, kept": (
        OURS + "import jax\nd = jax.devices('gpu')\nd[1]\n",
        "GPU020",
    ),
    "CuPy's second card": (
        OURS + "import cupy as cp\ncp.cuda.Device(1).use()\n",
        "GPU020",
    ),
    "numba's second card": (
        OURS + "from numba import cuda\ncuda.select_device(1)\n",
        "GPU020",
    ),
    "a card that only a run knows": (
        OURS + "import torch, sys\ntorch.cuda.set_device(int(sys.argv[1]))\n",
        "GPU021",
    ),
    "a card by rank": (
        OURS + "import torch\ndef f(rank):\n    return f'cuda:{rank}'\n",
        "GPU021",
    ),
    "what Ollama ignores": (
        "import os\nos.environ['OLLAMA_GPU_DEVICE'] = '1'\n",
        "GPU030",
    ),
    "a suppression without a reason": (
        "import torch  # gpu-standards: ignore[GPU001]\n",
        "GPU001 GPU040",
    ),
    "a suppression of an unknown rule": (
        "import torch  # gpu-standards: ignore[GPU999] because\n",
        "GPU001 GPU040",
    ),
    "a suppression of another rule": (
        "import torch  # gpu-standards: ignore[GPU020] because\n",
        "GPU001",
    ),
    "a suppression in a string": (
        "import torch; x = '# gpu-standards: ignore[GPU001] because'\n",
        "GPU001",
    ),
    "Python 2": ("import torch\nprint 'hello'\n", "GPU090"),
    "a null byte": ("import torch\0\n", "GPU090"),
}


def broken(script: str) -> set[str]:
    """Return the numbers of the rules that a script breaks."""
    data = dedent(script).encode()
    checked = check_data("s.py", data, "python", wanted=wanted_of(GpuPolicy()))
    return {finding.rule.id for finding in checked.findings}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_script_passes(name: str) -> None:
    assert broken(GOOD[name]) == set()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_script_is_found(name: str) -> None:
    script, rules = BAD[name]

    assert broken(script) == set(rules.split())
