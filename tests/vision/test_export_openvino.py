"""Writing OpenVINO's format asks nobody anything."""

import subprocess
import sys
from pathlib import Path

GUARDED = """
import os, sys
import torch
from tuneyard.vision.export_onnx import write_onnx
def refuse(event, details):
    if event in ("socket.getaddrinfo", "socket.connect", "subprocess.Popen", "os.system"):
        print(event, details, file=sys.stderr)
        os._exit(3)
from pathlib import Path
folder = Path(sys.argv[1])
example = torch.rand(2, 3, 8, 8)
layer = torch.nn.Conv2d(3, 4, 3).eval()
onnx_file, *_ = write_onnx(folder, layer, example, outputs=["logits"], facts={})
sys.addaudithook(refuse)
from tuneyard.vision.export_openvino import OpenVinoModel, write_openvino
files = write_openvino(onnx_file, facts={"classes": ["a"]})
assert [path.name for path in files] == ["model.xml", "model.bin"]
assert torch.allclose(OpenVinoModel(files[0], threads=1)(example), layer(example), atol=1e-5)
"""


def test_neither_writing_nor_computing_asks_the_net_or_starts_a_program(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", GUARDED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        # Where its package keeps what it asks people for.
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert ran.returncode == 0, ran.stderr
