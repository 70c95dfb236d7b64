"""What is loaded runs nothing: no file that this package reads is unpickled or evaluated."""

import ast

import pytest

from emotemporal.cli.train_clip import main as train_clip
from emotemporal.cli.train_frame import main as train_frame

# The decoding child's boot line and the workers' pipes carry what this package itself sends.
FORBIDDEN = {
    "eval",
    "exec",
    "pickle.load",
    "pickle.loads",
    "joblib.load",
    "os.system",
    "yaml.load",
    "yaml.unsafe_load",
    "torch.jit.load",
    "marshal.loads",
}


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


def test_nothing_that_could_run_code_is_called(root):
    files = [
        path for folder in ("emotemporal", "tools", "benchmarks") for path in (root / folder).rglob("*.py")
    ]
    seen = []
    for path in files:
        for name, words in calls(path):
            seen.append(name)
            assert name not in FORBIDDEN, f"{path}: {name}"
            assert words.get("shell", "False") == "False", f"{path}: {name} in a shell"
            assert words.get("allow_pickle", "False") == "False", f"{path}: {name} unpickles"
            if name == "torch.load":
                assert words.get("weights_only") == "True", f"{path}: torch.load unpickles"
    assert {"torch.load", "np.load", "json.loads"} <= set(seen)


@pytest.mark.parametrize(
    "text",
    [
        "run: !!python/object/apply:os.system ['touch {mark}']\n",
        "backbone: !!python/object/new:subprocess.Popen [['touch', '{mark}']]\n",
        "backbone:\n  class_path: subprocess.Popen\n  init_args:\n    args: [touch, '{mark}']\n",
        "head:\n  class_path: subprocess.Popen\n  init_args:\n    args: [touch, '{mark}']\n",
        "class_path: subprocess.Popen\ninit_args:\n  args: [touch, '{mark}']\n",
        "run:\n  class_path: os.system\n  init_args: {{command: 'touch {mark}'}}\n",
        "optim:\n  class_path: tests.conftest.Anything\n",
    ],
)
@pytest.mark.parametrize("main", [train_frame, train_clip])
def test_settings_name_no_code(main, text, tmp_path, capsys):
    mark, config = tmp_path / "ran", tmp_path / "config.yaml"
    config.write_text(text.format(mark=mark))
    with pytest.raises(SystemExit) as stopped:
        main(["--config", str(config)])
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err
    assert not mark.exists()
