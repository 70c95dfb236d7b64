"""The doctor: well where all is well, and one line for each simulated fault."""

import importlib.metadata
import json
import shutil
import subprocess
import sys

import av
import numpy as np
import pytest

from emotemporal.cli.doctor import main
from emotemporal.doctor import checks, packages, probes
from emotemporal.doctor.checks import check_checkpoints, checkpoint_folder
from emotemporal.doctor.children import ProbeProcess
from emotemporal.doctor.findings import Finding
from emotemporal.doctor.packages import check_packages, read_requirements
from emotemporal.errors import EmotemporalError
from emotemporal.faces import mtcnn_torch
from emotemporal.faces.detector import MtcnnDetector


def faults_of(findings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings if finding.status == "fault"}


@pytest.mark.needs_weights
@pytest.mark.timeout(600)
def test_this_installation_is_well(capsys):
    assert main(["--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    statuses = {finding["name"]: finding["status"] for finding in document["findings"]}
    wanted = {"torch", "decoder decord", "decoder PyAV", "encoder libx264", "face detector", "self-test"}
    assert {statuses[name] for name in wanted} == {"ok"}


def test_faults_are_told_and_counted_and_warnings_are_not(monkeypatch, capsys):
    findings = [Finding("disk", "warning", "full", "make room")]
    monkeypatch.setattr("emotemporal.cli.doctor.check_installation", lambda: iter(findings))
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == ["warning  disk: full; make room", "all is well"]
    findings.append(Finding("av", "fault", "not installed", "run: pip install av"))
    assert main([]) == 1
    assert "FAULT    av: not installed; run: pip install av" in capsys.readouterr().out
    assert main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Put a package of some source in front of the installed one."""

    def make(name, source):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)

    return make


def test_packages_that_fail_crash_or_exit_do_not_hide_the_others(stub):
    stub("rich", "raise OSError('libgone.so.1: cannot open shared object file')")
    stub("joblib", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    stub("torchmetrics", "import sys\nsys.exit('no')")
    stub("lightning", "import os\nos._exit(3)")
    names = ["joblib", "rich", "torchmetrics", "lightning", "numpy", "absent"]
    faults = faults_of(ProbeProcess([f"import:{name}" for name in names]).findings())
    assert list(faults) == ["joblib", "rich", "torchmetrics", "lightning", "absent"]
    assert "SIGSEGV" in faults["joblib"].found
    assert "libgone.so.1" in faults["rich"].found
    assert "exit code 3" in faults["lightning"].found
    assert faults["joblib"].advice == "run: pip install --force-reinstall joblib"


def test_the_doctor_needs_none_of_the_packages(stub, root, tmp_path):
    broken = "raise ImportError('broken')"
    for name in ("numpy", "torch", "av", "cv2", "jsonargparse", "rich", "joblib", "safetensors"):
        stub(name, broken)
    done = subprocess.run(
        [sys.executable, str(root / "tools" / "doctor.py"), "--json"],
        env={"PYTHONPATH": f"{tmp_path}:{root}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    faults = {f["name"] for f in json.loads(done.stdout)["findings"] if f["status"] == "fault"}
    assert {"torch", "jsonargparse", "decoders", "self-test"} <= faults


def test_versions_are_held_against_what_is_asked_for(monkeypatch):
    requirements = {"": ["numpy>=99", "absent-package>=1", "av>=1"], "parquet": ["pyarrow>=999"]}
    faults = faults_of(check_packages(requirements))
    assert set(faults) == {"numpy", "absent-package", "extra parquet"}
    assert faults["numpy"].found.endswith(", >=99 is needed")
    assert faults["absent-package"].advice == "run: pip install 'absent-package>=1'"

    requires = importlib.metadata.requires
    monkeypatch.setattr(
        packages.importlib.metadata,
        "requires",
        lambda name: ["torch==1.0"] if name == "torchvision" else requires(name),
    )
    assert "built for ==1.0" in faults_of(check_packages({"": []}))["torch and torchvision"].found


def test_requirements_are_those_of_the_project():
    requirements = read_requirements()
    assert any(text.startswith("torch>=") for text in requirements[""])
    assert {checks._name(text) for text in requirements["openvino"]} == {"openvino"}
    assert set(packages.EXTRAS) <= requirements.keys()


@pytest.mark.needs_weights
def test_the_list_of_hashes_is_current():
    folder = checkpoint_folder()
    assert not faults_of(check_checkpoints(folder)), (
        "run: cd checkpoints && sha256sum *.safetensors > SHA256SUMS"
    )
    listed = {line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in folder.glob("*.safetensors")}


@pytest.mark.needs_weights
def test_a_damaged_or_missing_checkpoint_is_named(tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(checkpoint_folder(), folder)
    damaged = bytearray((folder / "causal_head.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "causal_head.safetensors").write_bytes(damaged)
    (folder / "geometry_ravdess.safetensors").unlink()
    faults = faults_of(check_checkpoints(folder))
    assert set(faults) == {"causal_head.safetensors", "geometry_ravdess.safetensors"}
    assert "damaged" in faults["causal_head.safetensors"].found
    (folder / "SHA256SUMS").unlink()
    assert set(faults_of(check_checkpoints(folder))) == {"checkpoints"}


def test_an_encoder_that_is_missing(monkeypatch):
    monkeypatch.setattr(av, "codecs_available", set())
    assert list(faults_of(probes.probe_decoders())) == ["encoder libx264"]


def test_a_folder_that_cannot_hold_networks_is_a_warning(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    (tmp_path / "file").touch()
    monkeypatch.setenv("EMOTEMPORAL_CACHE", str(tmp_path / "file" / "cache"))
    (finding,) = probes.probe_cache()
    assert finding.status == "warning"
    assert "let EMOTEMPORAL_CACHE name a folder" in finding.advice


class Blind:
    """A detector that finds what it is told to."""

    def __init__(self, boxes):
        self._boxes = boxes

    def detect_faces(self, frame):
        from emotemporal.structures import Detections

        num = len(self._boxes)
        boxes = np.array(self._boxes, np.float32).reshape(num, 4)
        return Detections(boxes, np.ones(num, np.float32), np.zeros((num, 5, 2), np.float32))


@pytest.mark.needs_weights
@pytest.mark.parametrize(
    ("boxes", "text"), [([], "0 faces found on a picture of one"), ([[0, 0, 50, 50]], "found elsewhere")]
)
def test_a_detector_that_sees_no_or_another_face_is_a_fault(monkeypatch, boxes, text):
    from emotemporal.pipeline import EmotionPipeline

    pipeline = EmotionPipeline.load(device="cpu", backend="torch")
    pipeline.detector = Blind(boxes)
    monkeypatch.setattr(EmotionPipeline, "load", lambda **options: pipeline)
    faults = faults_of(probes.probe_pipeline())
    assert text in faults["face detector"].found


@pytest.mark.parametrize("name", ["PNet", "RNet", "ONet"])
def test_missing_weights_of_the_detector_are_an_error_and_no_video_without_faces(monkeypatch, name):
    from facenet_pytorch.models import mtcnn as theirs

    def gone():
        raise FileNotFoundError(2, "No such file or directory", f"{name.lower()}.pt")

    monkeypatch.setattr(theirs, name, gone)
    with pytest.raises(EmotemporalError, match=f"{name} of facenet-pytorch does not load .*force-reinstall"):
        MtcnnDetector(backend="torch")
    with pytest.raises(EmotemporalError, match="does not load"):
        mtcnn_torch.load_network(name)
