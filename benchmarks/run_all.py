"""Every benchmark whose data are there, one after the other."""

import subprocess
import sys

from results import ROOT

_DATA = ROOT.parent / "shared" / "data"
_BENCHMARKS = {
    "fer2013.py": [_DATA / "fer2013" / "fer2013.csv.xz"],
    "java_sed.py": [ROOT / "runs" / "java_sed_store"],
    "clip_coverage.py": [ROOT / "runs" / f"java_sed_{seed}" for seed in range(2)],
    "causal_java_sed.py": [ROOT / "runs" / "java_sed_store"],
    "robustness.py": [_DATA / "fer2013" / "fer2013.csv.xz"],
    "frame_speed.py": [_DATA / "fer2013" / "fer2013.csv.xz"],
    "ablations.py": [_DATA / "fer2013" / "fer2013.csv.xz"],
    "mixed_input.py": [_DATA / "fer2013" / "fer2013.csv.xz"],
    "spliced.py": [ROOT / "runs" / "java_sed_store"],
    "afew2.py": [_DATA / "afew2_posteriors"],
    "ravdess_landmarks.py": [_DATA / "ravdess_landmarks68"],
    "quality.py": [_DATA / "clips", _DATA / "java_sed"],
    "reproducibility.py": [
        ROOT / "examples" / "demo.mp4",
        *(_DATA / "clips" / name for name in ("single_face.mp4", "stage_two_faces.mp4")),
    ],
    "speed.py": [_DATA / "clips"],
    "spared.py": [_DATA / "java_sed"],
    "gpu_speed.py": [_DATA / "clips"],
    "live.py": [_DATA / "clips"],
    "scaling.py": [_DATA / "clips"],
    "stage_times.py": [_DATA / "clips" / name for name in ("single_face.mp4", "many_faces_1080p.mp4")],
    "synthetic_faces.py": [],
    "kill_nine.py": [],
    "memory.py": [ROOT / "examples" / "demo.mp4", _DATA / "clips" / "many_faces_1080p.mp4"],
}


def main() -> int:
    failed = 0
    for script, inputs in _BENCHMARKS.items():
        missing = [str(path) for path in inputs if not path.exists()]
        if missing:
            print(f"skipped {script}: no {', '.join(missing)}")
            continue
        command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, inputs)]
        print(" ".join(command), flush=True)
        failed += subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
