"""What the tests of sampling and of the metrics need: workflows, a random model, a run's folder."""

import json

import numpy as np
import torch

import tct_github_workflow as tct
from model import GPT, GPTConfig
from tct_github_workflow.json_text import dump_json


def job(**more):
    return {
        "runs-on": "ubuntu-latest",
        "steps": [{"uses": "actions/checkout@v4"}, {"run": "make test"}],
        **more,
    }


def workflow(i=0, **jobs):
    return {"name": f"CI {i}", "on": "push", "jobs": jobs or {"build": job(env={"N": str(i)})}}


def encode(document):
    return tct.encode(dump_json(document))


TRAIN = [workflow(i) for i in range(8)]
VAL = [{**workflow(100 + i), "name": "Prüfung"} for i in range(4)]
# one in which a name does not resolve, as real ones have them
VAL[3] = {"run-name": "${{ inputs.gone }}", **VAL[3]}


def make_model(heeds_context=False, **changes):
    """A small model with random weights, in the head too.

    It pays no attention to what came before, as a new model's projections are zero.
    """
    torch.manual_seed(0)
    config = {"block_size": 64, "n_layer": 1, "n_head": 2, "n_embd": 32, **changes}
    model = GPT(GPTConfig(**config)).eval()
    torch.nn.init.normal_(model.lm_head.weight, std=0.5)
    for name, p in model.named_parameters():
        if heeds_context and "c_proj" in name:
            torch.nn.init.normal_(p, std=0.5)
    return model


def write_run(folder):
    """A run with a random model, and the data that it was trained on, in the same folder."""
    meta = {
        "vocab_size": tct.vocab_size(),
        "tokenizer_hash": tct.tokenizer_hash(),
        "schema_hash": tct.schema_hash(),
        "skipped": {"empty": 4},
    }
    for split, workflows in (("train", TRAIN), ("val", VAL)):
        documents = [np.array(encode(w), np.uint16) for w in workflows]
        lengths = [len(d) for d in documents]
        np.concatenate(documents).tofile(folder / f"{split}.bin")
        np.cumsum([0, *lengths], dtype=np.int64).tofile(folder / f"{split}.idx")
        meta[split] = {
            "documents": len(documents),
            "tokens": sum(lengths),
            "sha256": "",
            "bytes": sum(len(dump_json(w).encode()) for w in workflows),
        }
    (folder / "meta.json").write_text(json.dumps(meta))
    model = make_model(heeds_context=True)
    checkpoint = {
        "model": model.state_dict(),
        "model_args": vars(model.config),
        "iter_num": 0,
        "data_dir": str(folder),
        "tokenizer_hash": tct.tokenizer_hash(),
        "schema_hash": tct.schema_hash(),
    }
    torch.save(checkpoint, folder / "ckpt.pt")
    return folder


def json_file(document):
    return json.dumps(document).encode()


SAME_STEP_ID_TWICE = [{"run": "x", "id": "s"}, {"run": "y", "id": "S"}]
NAMES_A_STEP = [{"run": "x", "id": "s"}, {"run": "${{ steps.S.outputs.x && 'steps.none' }}"}]
NAMES_RESOLVE = workflow(
    1,
    a=job(steps=NAMES_A_STEP),
    B=job(needs="a", **{"if": "needs.A.outputs.x"}),
    c=job(needs=["B"], env={"x": "${{ needs.B.result }}"}),
)
DEFECTS = {  # file name: (content, rungs climbed)
    "a.json": (b'{"on": "push", "jobs": ', 1),
    "b.yml": (b"on: [push\n", 1),
    "c.yml": (b"on: \xff\xfe", 0),
    "d.yml": (b"", 1),
    "e.yml": (b"on: push\n", 2),
    "f.json": (json_file({**workflow(), "on": "pushh"}), 2),
    "g.json": (json_file({**workflow(), "jbos": {}}), 2),
    "h.json": (json_file(workflow(0, a={"runs-on": "x", "steps": []})), 2),
    "i.json": (json_file(workflow(0, a=job(**{"timeout-minutes": "x y"}))), 2),
    "j.json": (json_file(workflow(1, a=job(needs="b"))), 3),
    "k.json": (json_file(workflow(1, a=job(needs=["b"]), b=job(needs="a"), c=job())), 3),
    "l.json": (json_file(workflow(1, a=job(steps=SAME_STEP_ID_TWICE))), 3),
    "m.json": (json_file(workflow(1, a=job(steps=[{"run": "${{ steps.nope.outputs.x }}"}]))), 4),
    "n.json": (json_file(workflow(1, a=job(**{"if": "needs['b'].result == 'steps.q'"}))), 4),
    "o.json": (json_file(NAMES_RESOLVE), 5),
    "p.json": (json_file(TRAIN[0]), 5),
    "q.json": (json.dumps(TRAIN[1], indent=2).encode(), 5),
    "r.yml": (tct.json_to_yaml(dump_json(TRAIN[1])).encode(), 5),
    "s.json": (json_file(workflow(55)), 5),
    "t.json": (json_file(workflow(55)), 5),
}
