"""Tests of the overrides: config files and flags."""

import os
import re

import pytest

from config import configure
from tests.training import ROOT, TRAIN


def settings():
    return {
        "__file__": TRAIN,
        "__doc__": "",
        "rate": 0.1,
        "steps": 10,
        "flag": True,
        "name": "x",
        "maybe": None,
        "LIMIT": 7,
        "_private": 8,
        "os": os,
    }


def test_overrides_apply_in_order_and_keep_types(tmp_path):
    (tmp_path / "a.py").write_text("import math\nsteps = 20\nrate = steps / 10\n")
    s = settings()
    found = configure(
        s,
        [
            "--steps=3",
            str(tmp_path / "a.py"),
            "--name=a=b",
            "--rate=1",
            "--flag=False",
            "--maybe=5",
        ],
    )
    assert found == {"rate": 1.0, "steps": 20, "flag": False, "name": "a=b", "maybe": 5}
    assert type(found["rate"]) is float and s["steps"] == 20
    assert configure(settings(), ["--name=7", "--maybe=None"])["name"] == "7"


@pytest.mark.parametrize(
    "argument, says",
    [
        ("--stepz=3", "'steps'"),
        ("--steps=1e6", "int"),
        ("--steps=2.0", "int"),
        ("--steps=True", "int"),
        ("--flag=1", "bool"),
        ("--flag=true", "bool"),
        ("--rate=fast", "float"),
        ("--steps", "equals sign"),
        ("gone.py", "gone.py"),
        ("--os=1", "no setting"),
        ("--LIMIT=1", "no setting"),
        ("--_private=1", "no setting"),
    ],
)
def test_a_wrong_override_ends_with_one_line(argument, says, capsys):
    with pytest.raises(SystemExit) as e:
        configure(settings(), [argument])
    err = capsys.readouterr().err
    assert e.value.code == 2 and says in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "source, says",
    [
        ("stepz = 3", "'steps'"),
        ('steps = "3"', "int"),
        ("steps =", "SyntaxError"),
        ("steps = 1 / 0", "ZeroDivisionError"),
        ("rate = [1]", "float"),
    ],
)
def test_a_wrong_config_file_ends_with_one_line(source, says, tmp_path, capsys):
    (tmp_path / "a.py").write_text(source)
    with pytest.raises(SystemExit) as e:
        configure(settings(), [str(tmp_path / "a.py")])
    err = capsys.readouterr().err
    assert e.value.code == 2 and says in err and "a.py" in err and err.count("\n") == 1


def test_help_shows_settings_with_their_comments(script, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, shown, _ = script("train.py", "--help")
    text = " ".join(shown.split())
    assert code == 0 and "--n_layer=8 blocks" in text
    assert "--compile=auto torch.compile" in text
    assert text.count("--out_dir=") == 1  # train.py assigns to it again, further down


@pytest.mark.parametrize("name", ["prepare.py", "train.py", "rl.py", "sample.py", "eval.py"])
def test_every_script_explains_its_settings_and_refuses_unknown_ones(script, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        head = f.read().partition("configure(globals()")[0]
    settings = re.findall(r"^([a-z]\w*) = [^(\n]*#", head, re.M)
    code, shown, _ = script(name, "--help")
    assert code == 0 and len(settings) > 5
    assert all(f"--{setting}=" in shown for setting in settings)
    assert max(map(len, shown.splitlines())) <= 80
    code, _, refused = script(name, "--sead=1")
    assert code not in (0, None) and "seed" in refused
    assert len(refused.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["tiny", "small", "medium", "large"])
def test_configs_name_only_settings_of_train(name):
    with open(TRAIN) as f:
        head = f.read().split("config = configure")[0].split("# data and run")[1]
    s = {"__file__": TRAIN}
    exec(head, s)
    configure(s, [os.path.join(ROOT, "config", f"{name}.py")])
    assert s["n_embd"] % s["n_head"] == 0 and s["block_size"] % 32 == 0
