"""What to type next, ready for a shell."""

import shlex
import sys


def command_to_prepare(folder):
    """What writes a data folder anew."""
    return shlex.join(["python", "prepare.py", f"--data_dir={folder}"])


def command_to_resume(processes):
    """What continues this run. processes: its run.processes.Processes."""
    arguments = [a for a in sys.argv if not a.startswith("--init_from")]
    launcher = ["python"]
    if processes.world_size > 1:
        launcher = ["torchrun", f"--nproc_per_node={processes.local_world_size}"]
    return shlex.join([*launcher, *arguments, "--init_from=resume"])


def command_for(script, out_dir):
    """What uses the run in out_dir with sample.py or eval.py."""
    arguments = [] if out_dir == "out" else [f"--out_dir={out_dir}"]
    return shlex.join(["python", script, *arguments])
