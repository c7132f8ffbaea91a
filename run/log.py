"""A training run's folder, and what lies there for people: training.log, log.jsonl, loss.png.

Once the folder is made, nothing here raises. A run is worth hours, a line of a log is not: what
cannot be written is said once, and training continues without it.
"""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field

import torch

from data.files import write_whole


def make_folder(folder, is_new):
    """Make a run's folder. A new run moves an earlier one's to folder.1, or the first number that
    is free; returns that name, or None. Raises OSError."""
    aside = None
    if is_new and os.path.exists(os.path.join(folder, "ckpt.pt")):
        number = 1
        while os.path.lexists(f"{folder}.{number}"):
            number += 1
        aside = f"{folder}.{number}"
        os.rename(folder, aside)
    os.makedirs(folder, exist_ok=True)
    return aside


def git_commit():
    """The commit of this checkout; None without git or a repository."""
    command = ["git", "rev-parse", "HEAD"]
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        git = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return git.stdout.strip() or None


def write_config(folder, config, facts):
    """folder/config.json: the settings, and the facts on how they were used. Raises OSError."""
    facts = {
        "command": sys.argv,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **facts,
    }
    with write_whole(os.path.join(folder, "config.json")) as f:
        json.dump({**config, "facts": facts}, f, indent=1)


@dataclass
class Interval:
    """What happened since the last log line."""

    first_iter: int
    began: float = field(default_factory=time.perf_counter)
    n_targets: int = 0  # trained on
    eval_seconds: float = 0.0  # spent in evaluations

    def seconds(self):
        """Spent in training."""
        return time.perf_counter() - self.began - self.eval_seconds


def time_left(seconds, n_done, n_left):
    """How long n_left more steps take, as "4m20s". seconds: what n_done took."""
    minutes, seconds = divmod(round(seconds / n_done * n_left), 60)
    return f"{minutes}m{seconds:02d}s"


class RunLog:
    """The log of one process; all but the first of several are silent."""

    def __init__(self, is_first):
        self.is_first = is_first
        self.folder = None  # the run's, once open() was called; until then there is only the screen
        self.records = []  # what log.jsonl holds: {"iter": ..., "loss": ..., ...}
        self.wandb = None  # the module, where it is in use
        self._complaints = set()  # names of what could not be written

    def open(self, folder, last_iter=None):
        """Log into this folder from now on. last_iter: the step that a resumed run continues from;
        log.jsonl's records after it are dropped, as it makes them again. None: a new run."""
        self.folder = folder
        if not self.is_first:
            return
        try:
            if last_iter is None:
                open(self._path("training.log"), "w").close()
            else:
                self.records = self._read_records(last_iter)
            with write_whole(self._path("log.jsonl")) as f:
                for record in self.records:
                    f.write(json.dumps(record) + "\n")
        except OSError as e:
            self._complain("log.jsonl", e)

    def _read_records(self, last_iter):
        """The records of log.jsonl up to a step. A run that was killed, or a disk that was full,
        may leave damaged lines: they are left out."""
        records = []
        n_damaged = 0
        try:
            with open(self._path("log.jsonl"), encoding="utf-8", errors="replace") as f:
                lines = f.readlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                record = json.loads(line)
                if record["iter"] <= last_iter:
                    records.append(record)
            except (ValueError, TypeError, KeyError):
                n_damaged += 1
        if n_damaged:
            self.say(f"log.jsonl: {n_damaged} damaged lines left out")
        return records

    def start_wandb(self, wandb, project, config):
        """Log to Weights & Biases, too. wandb: the module."""
        if not self.is_first:
            return
        try:
            wandb.init(project=project, name=self.folder, config=config)
            self.wandb = wandb
        except Exception as e:  # no login, no network: errors of many kinds
            self._complain("wandb", e)

    def say(self, text):
        """The one way to the screen and to training.log."""
        if self.is_first:
            print(text, flush=True)
            self.note(text)

    def note(self, text):
        """To training.log alone."""
        if self.is_first:
            self._append("training.log", text)

    def record(self, **numbers):
        """The one way to log.jsonl and wandb."""
        if not self.is_first:
            return
        self.records.append(numbers)
        self._append("log.jsonl", json.dumps(numbers))
        if self.wandb:
            try:
                self.wandb.log(numbers, step=numbers["iter"])
            except Exception as e:
                self._complain("wandb", e)

    def plot(self):
        """loss.png: both losses against the step."""
        if not self.is_first:
            return
        try:
            with write_whole(self._path("loss.png"), "wb") as f:
                draw_losses(self.records, self.folder).savefig(f, dpi=120, bbox_inches="tight")
        except Exception as e:  # not installed, not configured, no room: errors of many kinds
            self._complain("loss.png", e)

    def _path(self, name):
        return os.path.join(self.folder, name)

    def _append(self, name, line):
        if self.folder is None:
            return
        try:
            with open(self._path(name), "a", encoding="utf-8", errors="backslashreplace") as f:
                f.write(line + "\n")
        except OSError as e:
            self._complain(name, e)

    def _complain(self, name, error):
        if name in self._complaints:
            return
        self._complaints.add(name)
        reason = " ".join(str(error).split())
        self.say(f"no {name} ({type(error).__name__}: {reason:.200}); training continues without.")


def draw_losses(records, title):
    """A matplotlib figure of the losses in records."""
    from matplotlib.figure import Figure  # not pyplot, which may look for a screen

    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for key, label in ("loss", "training batch"), ("val_loss", "validation"):
        points = [record for record in records if key in record]
        axes.plot([p["iter"] for p in points], [p[key] for p in points], label=label)
    axes.set(xlabel="step", ylabel="loss, nats per token")
    axes.set_title(title, parse_math=False)  # a folder's name may have dollar signs
    axes.legend()
    return figure
