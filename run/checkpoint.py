"""Checkpoints of a training run: how far it is, its weights, its optimizers."""

import dataclasses
import math
import os
from dataclasses import dataclass

import torch

from data.files import write_whole


@dataclass
class Progress:
    """How far a run is: what a checkpoint holds beside weights, optimizers and settings."""

    iter_num: int = 0  # steps done
    best_val_loss: float = math.inf
    cursor: tuple = (0, 0)  # the (epoch, row) at which the next step begins
    last_eval: int = 0  # the step after which val was last evaluated
    bad_steps: int = 0  # steps in a row, up to now, that were not finite
    seconds: float = 0.0  # spent in training, without evaluations

    def forget_data(self):
        """What was counted on the data so far is not true of other data."""
        self.best_val_loss = math.inf
        self.cursor = (0, 0)
        self.last_eval = 0


def read_checkpoint(path):
    """(checkpoint, Progress), in CPU memory: a GPU may be full. Raises ValueError, in one line."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        names = [field.name for field in dataclasses.fields(Progress)]
        return checkpoint, Progress(**{name: checkpoint[name] for name in names})
    except FileNotFoundError as e:
        raise ValueError(
            f"there is no {path} to resume. Leave out --init_from=resume, "
            "or name the run's folder with --out_dir."
        ) from e
    except Exception as e:  # a damaged file makes torch.load raise errors of many kinds
        best_path = os.path.join(os.path.dirname(path), "ckpt_best.pt")
        raise ValueError(
            f"{path} is damaged ({type(e).__name__}). "
            f"Copy {best_path} over it to continue from the best checkpoint."
        ) from e


def write_checkpoint(path, checkpoint, progress):
    """path then holds these whole; if not, it is as before, and an OSError says why not."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # somebody may have moved the folder
        with write_whole(path, "wb") as f:
            torch.save({**checkpoint, **dataclasses.asdict(progress)}, f)
    except RuntimeError as e:  # what torch.save makes of a full disk
        raise OSError(str(e.__context__ or e).splitlines()[0]) from e


def restore(checkpoint, model, optimizers):
    """Weights and optimizers as they were; rates and the like are those set now. Raises ValueError,
    to be read after the file's name, where the model or the optimizers are others."""
    try:
        model.load_state_dict(checkpoint["model"])
    except RuntimeError as e:
        difference = str(e).splitlines()[1].strip()
        raise ValueError(
            f"does not fit the GPT of model.py: {difference:.200} "
            "Resume with the model.py of the run."
        ) from e
    try:
        for optimizer, saved in zip(optimizers, checkpoint["optimizers"], strict=True):
            for old, new in zip(saved["param_groups"], optimizer.param_groups, strict=True):
                settings = {key: value for key, value in new.items() if key != "params"}
                old.update(settings)
            optimizer.load_state_dict(saved)
    except ValueError as e:
        raise ValueError(
            "has other optimizers than this code. Resume with the code of the run, or begin anew."
        ) from e
