"""Tests of the choice of device, without a GPU: what torch says of the machine is made up."""

import os
import runpy
import sys

import pytest
import torch

import model
from run.device import choose_device

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def machine(monkeypatch):
    """machine(gpus=..., ...) makes torch report these; it returns the devices made current."""

    def pretend(gpus=0, capability=(8, 0), apple=False):
        current = []

        def set_device(name):  # as torch does: it wants a number, and one that is there
            index = torch.device(name).index
            if index is None:
                raise ValueError(f"Expected a torch.device with a specified index, but got:{name}")
            if index >= gpus:
                raise RuntimeError("CUDA error: invalid device ordinal\nGPU kernel errors might")
            current.append(name)

        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "set_device", set_device)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: capability >= (8, 0))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A100-SXM4-80GB")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
        return current

    return pretend


@pytest.mark.parametrize(
    "there, asked, local_rank, world_size, name",
    [
        (dict(gpus=1), "auto", 0, 1, "cuda:0"),
        (dict(gpus=1), "cuda", 0, 1, "cuda:0"),
        (dict(gpus=2), "cuda:1", 0, 1, "cuda:1"),
        (dict(gpus=2), "auto", 1, 2, "cuda:1"),
        (dict(gpus=2), "cuda", 1, 2, "cuda:1"),
        (dict(gpus=2), "cpu", 1, 2, "cpu"),
        (dict(gpus=1), "cpu", 0, 1, "cpu"),
        (dict(), "auto", 0, 1, "cpu"),
        (dict(), "auto", 1, 2, "cpu"),
        (dict(apple=True), "auto", 0, 1, "mps"),
        (dict(apple=True), "mps", 0, 1, "mps"),
        (dict(apple=True), "auto", 0, 2, "cpu"),
    ],
)
def test_a_device_setting_leads_to_one_device(machine, there, asked, local_rank, world_size, name):
    current = machine(**there)
    device = choose_device(asked, local_rank, world_size)
    assert device.name == name
    if device.type == "cuda":
        assert current == [name]
        assert device.device_ids == [torch.device(name).index] and device.backend == "nccl"
        assert device.description == "NVIDIA A100-SXM4-80GB"
    else:
        assert current == []
        assert device.device_ids is None and device.backend == "gloo"


@pytest.mark.parametrize(
    "there, asked, world_size, says",
    [
        (dict(gpus=1), "gpu", 1, "no device is called 'gpu'"),
        (dict(gpus=1), "cuda:", 1, "no device is called 'cuda:'"),
        (dict(gpus=1), "cuda:1", 1, "this machine has 1 GPUs"),
        (dict(gpus=2), "cuda:1", 2, "cannot share"),
        (dict(), "cuda", 1, "no GPU"),
        (dict(), "mps", 1, "no Apple GPU"),
        (dict(apple=True), "mps", 2, "one process"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_one_line(machine, there, asked, world_size, says):
    machine(**there)
    with pytest.raises(ValueError, match=says) as e:
        choose_device(asked, 0, world_size)
    assert "\n" not in str(e.value)


def test_bfloat16_is_chosen_where_it_is_fast(machine):
    machine(gpus=1, capability=(8, 0))
    assert choose_device("cuda").choose_dtype() == ("bfloat16", "compute capability 8.0")
    assert choose_device("cuda").choose_dtype("float32") == ("float32", "as set")
    machine(gpus=1, capability=(7, 5))
    assert choose_device("cuda").choose_dtype() == ("float32", "compute capability 7.5")
    machine(apple=True)
    assert choose_device("mps").choose_dtype()[0] == "float32"


def test_a_cpu_uses_bfloat16_only_with_instructions_for_it(machine, monkeypatch):
    machine()
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    for supported, dtype in (True, "bfloat16"), (False, "float32"):
        monkeypatch.setattr(
            torch.cpu, "_is_avx512_bf16_supported", lambda s=supported: s, raising=False
        )
        assert choose_device("cpu").choose_dtype()[0] == dtype


class ReachedTheModel(Exception):
    """Raised in place of building a model."""


@pytest.mark.parametrize(
    "asked, processes, name",
    [("auto", 1, "cuda:0"), ("cuda", 1, "cuda:0"), ("cuda:1", 1, "cuda:1"), ("auto", 2, "cuda:1")],
)
def test_train_starts_on_gpus(machine, dataset, monkeypatch, tmp_path, asked, processes, name):
    """train.py with made-up GPUs, as the last of its processes, until it builds the model."""
    current, groups = machine(gpus=2), []

    def refuse_model(*_):
        raise ReachedTheModel

    monkeypatch.setattr(model, "GPT", refuse_model)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, **_: groups.append(backend)
    )
    last = str(processes - 1)
    for key, value in dict(RANK=last, LOCAL_RANK=last, WORLD_SIZE=str(processes)).items():
        monkeypatch.setenv(key, value)
    arguments = [f"--data_dir={dataset}", f"--out_dir={tmp_path}/out", f"--device={asked}"]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # train.py sets its own
    with pytest.raises(ReachedTheModel) as e:
        runpy.run_path(os.path.join(ROOT, "train.py"), run_name="__main__")
    assert current == [name]
    assert groups == ["nccl"] * (processes - 1)
    variables = e.traceback[-2].frame.f_globals  # of train.py, at the line that builds the model
    assert variables["device"] == name
    assert variables["dtype"] == "bfloat16"
