"""Judge a run: has the model learnt the language of workflows, are its workflows valid, would anyone use them?

    python eval.py                                        the run in out/: three minutes on 2 CPU cores for config/tiny.py
    python eval.py --out_dir=experiments/a --num_samples=1000
    python eval.py --samples=folder_or_jsonl              workflows from anywhere (YAML, JSON, samples.jsonl), by the same measures
    python eval.py --compare=experiments/a,experiments/b  finished evaluations side by side

Reads   out_dir/ckpt_best.pt (or ckpt.pt), log.jsonl, and the data folder that the checkpoint names.
Writes  out_dir/results.md, results.json, looks.png, loss.png; with --samples: judged.md, judged.json, judged.png;
        with --compare: compared.md, beside the last run's folder. The last line on stdout is the results as JSON.

Every rate stands beside the same rate for real validation workflows, by the same code: that is the ceiling. Intervals: Wilson, 95%.
"""

import collections
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

import tct_github_workflow as tct
from config import configure
from data.judge import RUNGS, action, distance, features, judge, ladder, make_index, nearest, shares, wilson
from data.packing import load as load_data
from data.sources import read_input
from model import document_nats
from sample import fail, generate, load
from tct_github_workflow import codec

out_dir = 'out'  # the run's folder
data_dir = ''  # what prepare.py wrote; '': the folder that the run was trained on
samples = ''  # judge these workflows instead of a model: all that prepare.py reads, or sample.py's samples.jsonl or folder
compare = ''  # print the results of these run folders, comma-separated, side by side; nothing is evaluated
num_samples = 200  # workflows to sample, once constrained and once not
num_cuts = 500  # held-out workflows to complete, at most
max_new_tokens = 1024  # tokens per sample, at most
max_cut_tokens = 256  # tokens per completion, at most; what needs more counts as wrong
temperature = 0.8  # of the samples; completions are greedy
batch_size = 100  # samples at a time
seed = 1337  # of samples and cuts
lint = False  # also run zizmor (pip install zizmor) and actionlint, where they are installed
device = 'auto'  # 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'

_began = time.perf_counter()  # the underscore keeps it from being a setting

# -----------------------------------------------------------------------------
# what is measured with the model


def likelihood(model, documents, sizes):
    """Nats of whole documents, each token predicted once, in three ways: all, by length, by what the tokens hold. sizes: bytes of JSON."""
    by_id = torch.zeros(model.config.vocab_size, 2, dtype=torch.float64)  # nats and how many, for each id

    def tally(module, args, output):
        targets, losses = args[1].flatten().cpu(), output[1].flatten().double().cpu()
        by_id.index_add_(0, targets[targets >= 0], torch.stack([losses, torch.ones_like(losses)], 1)[targets >= 0])
        progress('likelihood, tokens', int(by_id[:, 1].sum()), sum(map(len, documents)))
    handle = model.register_forward_hook(tally)
    with torch.no_grad():
        nats = document_nats(model, documents).numpy()
    handle.remove()
    lengths, sizes = np.array([len(d) for d in documents]), np.array(sizes)

    def over(chosen):
        n_nats, n, n_bytes = nats[chosen].sum(), int(lengths[chosen].sum()), int(sizes[chosen].sum())
        return {'documents': int(chosen.sum()), 'tokens': n, 'bytes': n_bytes, 'nats_per_token': n_nats / n,
                'perplexity': math.exp(n_nats / n), 'bits_per_byte': n_nats / math.log(2) / n_bytes}
    edges = [0, 64, 128, 256, 512, 1024, 2048, math.inf]
    by_length = {f'{a:,} to {b - 1:,}' if b < math.inf else f'{a:,} and more': over(chosen)
                 for a, b in zip(edges, edges[1:]) if (chosen := (lengths >= a) & (lengths < b)).any()}
    symbols = np.array([b.count(0xEE) for b in codec.vocab().bytes] + [0])  # the byte that leads the 3 of a symbol, and nothing else
    text = np.array([len(b) for b in codec.vocab().bytes] + [0]) > 3 * symbols
    by_content = {}
    for name, chosen in (('structure only', ~text), ('both', text & (symbols > 0)), ('text only', text & (symbols == 0))):
        n_nats, n = by_id[torch.from_numpy(chosen)].sum(0).tolist()
        by_content[name] = {'tokens': int(n), 'nats_per_token': n_nats / max(n, 1), 'share_of_nats': n_nats / nats.sum()}
    return {**over(lengths > 0), 'by_length': by_length, 'by_content': by_content}


def cut(workflows, n):
    """Up to n tasks: (ids, texts, job, steps before, steps to come), cut at a seeded step of a seeded job, as long as it has steps."""
    rng, tasks = np.random.default_rng(seed), []
    ahead = lambda mapping, key: {k: mapping[k] for k in list(mapping)[:list(mapping).index(key)]}
    for i in rng.permutation(len(workflows)).tolist():
        jobs = workflows[i]['jobs']
        names = [name for name, job in jobs.items() if len(job.get('steps', [])) > 1]
        if names and len(tasks) < n:
            name = names[rng.integers(len(names))]
            steps = jobs[name]['steps']
            at = int(rng.integers(1, len(steps)))
            begun = {**ahead(workflows[i], 'jobs'), 'jobs': {**ahead(jobs, name), name: {**ahead(jobs[name], 'steps'), 'steps': steps[:at]}}}
            # the ends of steps, job, jobs and document go, a step is opened; the last piece may be split otherwise with what follows
            *pieces, last = codec._split(codec.linearise(codec._escape(begun))[:-4] + codec.OBJECT)
            tasks.append((codec.encode_symbols(''.join(pieces)), [last.encode()], name, steps[:at], steps[at:]))
    return tasks


def complete(model, tasks, train):
    """Greedy next steps and rests of jobs, beside two baselines learnt from the training workflows: how many are right."""
    opened, closed = (np.array([sum(map(b.count, marks)) for b in codec.vocab().bytes] + [0])
                      for marks in ((codec.OBJECT.encode(), codec.ARRAY.encode()), (codec.CLOSE.encode(),)))
    depth = [int((opened - closed)[ids].sum()) for ids, *_ in tasks]

    def until(i, token):
        depth[i] += int(opened[token] - closed[token])
        return depth[i] < 3  # jobs, the job and its steps are open at 3
    guesses = {'model': {}, 'most frequent': {}, 'most frequent after the same step': {}}  # each: number of the task -> (step, rest)
    for i, tokens, finish, _ in generate(model, [task[:2] for task in tasks], max_cut_tokens, 0.0, batch_size=32, until=until):
        workflow = codec.parse(b''.join(codec.token_bytes(tokens)).decode(errors='ignore'))[0]
        rest = workflow['jobs'][tasks[i][2]]['steps'][len(tasks[i][3]):]
        guesses['model'][i] = rest[0], rest if finish != 'budget' else None
        progress('completing', len(guesses['model']), len(tasks))

    say = lambda value: json.dumps(value, sort_keys=True)
    steps_after, rests_after = (collections.defaultdict(collections.Counter) for _ in range(2))  # previous step, or None: all
    for job in (job for workflow in train for job in workflow['jobs'].values()):
        steps = job.get('steps', [])
        for j in range(1, len(steps)):
            for before in (None, say(steps[j - 1])):
                steps_after[before][say(steps[j])] += 1
                rests_after[before][say(steps[j:])] += 1
    best = lambda counter: json.loads(counter.most_common(1)[0][0]) if counter else None
    step, rest = best(steps_after[None]), best(rests_after[None])
    for i, task in enumerate(tasks):
        before = say(task[3][-1])
        guesses['most frequent'][i] = step, rest
        guesses['most frequent after the same step'][i] = (best(steps_after[before]), best(rests_after[before])) if before in steps_after else (step, rest)
    result = {'cuts': len(tasks), 'uses': sum('uses' in task[4][0] for task in tasks)}
    for who, guessed in guesses.items():
        pairs = [(*guessed[i], task[4]) for i, task in enumerate(tasks)]
        result[who] = {'exact': sum(step == true[0] for step, _, true in pairs),
                       'action': sum('uses' in true[0] and action(step or {}) == action(true[0]) for step, _, true in pairs),
                       'kind': sum(('uses' in (step or {})) == ('uses' in true[0]) for step, _, true in pairs),
                       'job': sum(rest == true for _, rest, true in pairs)}
    return result


def run_linters(texts):
    """{linter: how many of these YAML texts it finds fault with or cannot read}, for the linters that are installed."""
    found, path = {}, os.pathsep.join([os.path.dirname(sys.executable), os.environ.get('PATH', '')])
    with tempfile.TemporaryDirectory() as folder:
        for name, *flags in (('zizmor', '--offline', '--no-progress', '--quiet'), ('actionlint',)):
            if program := shutil.which(name, path=path):
                found[name] = 0
                for i, text in enumerate(texts):
                    write(os.path.join(folder, 'workflow.yml'), text)
                    found[name] += subprocess.run([program, *flags, os.path.join(folder, 'workflow.yml')], capture_output=True).returncode != 0
                    progress(name, i + 1, len(texts))
    return found


# -----------------------------------------------------------------------------
# output


def progress(what, done, total, began={}, shown=[_began]):
    """One line with rate and time left, rewritten on a terminal; elsewhere one every 20 s. began: when each work began; shown: the last line."""
    tty, now = sys.stderr.isatty(), time.perf_counter()
    spent = now - began.setdefault(what, shown[0])
    if tty or done == total or now - shown[0] > 20:
        shown[0] = now
        text = f'{what}: {done:,} of {total:,}, {done / spent:,.1f}/s, {spent * (total - done) / max(done, 1):.0f} s left'
        print('\r' + text.ljust(78) if tty else text, end='' if tty and done < total else '\n', file=sys.stderr, flush=True)


def rate(k, n):
    low, high = wilson(k, n)
    return f'{k / n:.1%} [{100 * low:.1f}, {100 * high:.1f}]' if n else '-'


def table(head, *rows):
    lines = [' | '.join(str(cell).replace('|', '\\|').replace('\n', ' ') for cell in row) for row in [head, ['---'] * len(head), *rows]]
    return '\n'.join(f'| {line} |' for line in lines) + '\n'


def write(path, text):
    with open(path + '.tmp', 'w', encoding='utf-8') as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(path + '.tmp', path)


def picture_looks(path, ours, real):
    """The most frequent events, runners, actions and step kinds of real validation workflows, and beside them ours."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 7))
    for ax, feature in zip(axes.flat, ('events', 'runners', 'actions', 'step kinds')):
        p, q = shares(real, feature), shares(ours, feature)
        values = list(p)[:8][::-1]
        for label, share, offset, color in (('real (validation)', p, 0.2, '0.6'), ('samples', q, -0.2, 'tab:blue')):
            ax.barh(np.arange(len(values)) + offset, [100 * share.get(v, 0) for v in values], 0.4, label=label, color=color)
        ax.set_yticks(range(len(values)), [v if len(v) < 30 else v[:27] + '...' for v in values], fontsize=8)
        ax.set(title=f'{feature}: distance {distance(p, q):.2f}', xlabel='share (%)')
    axes[0, 1].legend(loc='lower right')
    figure.tight_layout()
    figure.savefig(path, dpi=110)


HEADLINE = {'bits per byte of minified JSON': lambda r: f"{r['likelihood']['bits_per_byte']:.3f}",
            'loss, nats per token': lambda r: f"{r['likelihood']['nats_per_token']:.3f}",
            'perplexity per token': lambda r: f"{r['likelihood']['perplexity']:.1f}",
            'fit the schema': lambda r: rate(r['samples']['rungs'][2], r['samples']['n']),
            'fit the schema, sampled unconstrained': lambda r: rate(r['unconstrained']['rungs'][2], r['unconstrained']['n']),
            'and have sound references': lambda r: rate(r['samples']['rungs'][3], r['samples']['n']),
            'copies of a training workflow': lambda r: rate(r['copies']['samples']['exact'], r['copies']['samples']['n']),
            'distinct': lambda r: rate(r['copies']['samples']['distinct'], r['copies']['samples']['n']),
            'likeness to the nearest training workflow (1: the same)': lambda r: f"{r['copies']['samples']['nearest']:.2f}",
            'distance from real actions (0: none)': lambda r: f"{r['looks']['actions']['samples']:.2f}",
            'next step exactly right': lambda r: rate(r['completion']['model']['exact'], r['completion']['cuts']),
            'next step, the right action': lambda r: rate(r['completion']['model']['action'], r['completion']['uses']),
            'rest of the job exactly right': lambda r: rate(r['completion']['model']['job'], r['completion']['cuts'])}


def headline(*runs):
    rows = []
    for name, get in HEADLINE.items():
        try:
            rows.append([name, *(get(r) for r in runs)])
        except KeyError:
            pass  # not measured in all of them
    return rows


# -----------------------------------------------------------------------------
# the script

if __name__ == '__main__':
    config = configure(globals())
    sys.excepthook = lambda kind, e, trace: (print('\neval.py: stopped; nothing was written', file=sys.stderr)
                                             if kind is KeyboardInterrupt else sys.__excepthook__(kind, e, trace))
    if compare:
        runs = {}
        for folder in compare.split(','):
            try:
                with open(os.path.join(folder, 'results.json'), encoding='utf-8') as f:
                    runs[folder] = json.load(f)
            except (OSError, ValueError) as e:
                fail(f'{folder}/results.json: {e}. Run python eval.py --out_dir={folder} first.')
        path = os.path.join(os.path.dirname(os.path.normpath(folder)), 'compared.md')
        page = table(['', *runs], *headline(*runs.values()))
        write(path, '# Runs side by side\n\n' + page)
        print(f'{page}\nwritten to {path}\n{json.dumps(runs)}')
        raise SystemExit(0)
    try:
        import matplotlib
        matplotlib.use('Agg')
        import matplotlib.pyplot as plt
    except ImportError:
        fail('the pictures need matplotlib: pip install matplotlib')

    # what to judge: a model and its samples, or workflows from anywhere
    results, model, checkpoint = {'settings': config}, None, {}
    if not samples:
        model, checkpoint, path, device = load(out_dir, device)
        print(f'{path}: step {checkpoint["iter_num"]}, {sum(p.numel() for p in model.parameters()):,} parameters, on {device}')
    data_dir = data_dir or checkpoint.get('data_dir') or 'data/pypi'
    try:
        arrays, tables, metas = load_data(data_dir)
        if next(iter(metas.values()))['tokenizer_hash'] != tct.tokenizer_hash():
            fail(f'{data_dir} was prepared with another version of the tokenizer. Run prepare.py --data_dir={data_dir} again.')
    except ValueError as e:
        fail(str(e))
    documents = {split: [arrays[split][f][a:a + n] for f, a, n in tables[split]] for split in arrays}
    train, val = ([codec.parse(b''.join(codec.token_bytes(d.tolist())).decode())[0] for d in documents[split]] for split in ('train', 'val'))

    found = {}  # name: [(ids or None, finish, refused, judge()'s result)]
    if samples:
        own = os.path.join(samples, 'samples.jsonl') if os.path.isdir(samples) else samples
        try:
            with open(own if own.endswith('.jsonl') and os.path.exists(own) else os.devnull, encoding='utf-8') as f:
                rows = [json.loads(line) for line in f]
            if rows and 'tokens' in rows[0]:
                found['samples'] = [(r['tokens'], r['finish'], r['refused'], judge(r['tokens'])) for r in rows]
            else:
                found['samples'] = [(None, 'given', 0, judge(data=data)) for _, _, data in read_input(samples)]
        except (OSError, ValueError) as e:
            fail(f'{samples}: {e}')
        if not found['samples']:
            fail(f'{samples}: there is no workflow in it')
    else:
        results['likelihood'] = likelihood(model, documents['val'], [len(codec.dump_json(w).encode()) for w in val])
        for name in ('samples', 'unconstrained'):
            found[name], start = [], time.perf_counter()
            for _, ids, finish, refused in generate(model, [((), ())] * num_samples, max_new_tokens, temperature, seed=seed,
                                                    constrained=name == 'samples', batch_size=batch_size):
                found[name].append((ids, finish, refused, judge(ids)))
                progress(name, len(found[name]), num_samples)
            n_ids = sum(len(ids) for ids, *_ in found[name])
            results[name] = {'tokens_per_s': n_ids / (time.perf_counter() - start), 'refused': sum(r[2] for r in found[name]) / n_ids}
    found['real'] = [(d.tolist(), 'real', 0, judge(d.tolist())) for d in documents['val']]
    for name, rows in found.items():
        rungs, reasons = ladder([row[3] for row in rows])
        results[name] = {**results.get(name, {}), 'n': len(rows), 'rungs': rungs, 'reasons': reasons,
                         'finish': dict(collections.Counter(row[1] for row in rows))}

    # what is valid among the samples, and as many real workflows: the nearest of few is less near than the nearest of many
    rng = np.random.default_rng(seed)
    ours = [row for row in found['samples'] if row[3][2]]
    some = lambda rows: [rows[i] for i in rng.permutation(len(rows))[:len(ours)]]
    groups = {'samples': ours, 'real': some(found['real'])}
    known, train_index, copies = {d.tobytes() for d in documents['train']}, make_index(documents['train']), {}
    for name, rows in groups.items() if ours else ():
        ids = [tct.encode(codec.dump_json(row[3][2])) for row in rows]
        own, near = make_index(ids), [nearest(d, train_index) for d in ids]
        exact = [np.array(d, np.uint16).tobytes() in known for d in ids]
        closest = max(range(len(ids)), key=lambda i: (not exact[i], near[i]))
        copies[name] = {'n': len(ids), 'exact': sum(exact), 'over_0.8': sum(s > 0.8 for s, _ in near), 'distinct': len(set(map(tuple, ids))),
                        'canonical': sum(row[0] == d for row, d in zip(rows, ids)), 'nearest': float(np.median([s for s, _ in near])),
                        'self': float(np.median([nearest(d, own, but=i)[0] for i, d in enumerate(ids)])), 'closest': near[closest][0],
                        'closest_pair': [codec.dump_json(w) for w in (rows[closest][3][2], train[near[closest][1]])]}
        sizes = {'tokens': [len(d) for d in ids], 'jobs': [len(row[3][2]['jobs']) for row in rows],
                 'steps': [sum(len(job.get('steps', [])) for job in row[3][2]['jobs'].values()) for row in rows]}
        copies[name]['sizes'] = {k: [*np.percentile(v, (10, 50, 90)).tolist(), float(np.mean(v))] for k, v in sizes.items()}
        progress(f'likeness of {name}', len(ids), len(ids))
    if ours:
        results['copies'], ours = copies, [row[3][2] for row in ours]
        others = some(train)
        results['looks'] = {feature: {'samples': distance(shares(ours, feature), shares(val, feature)),
                                      'train': distance(shares(others, feature), shares(val, feature))} for feature in features(val[0])}
    if lint:
        results['lint'] = {name: {'n': len(rows), **run_linters([tct.json_to_yaml(codec.dump_json(row[3][2])) for row in rows])}
                           for name, rows in groups.items()}
    if model and (tasks := cut(val, num_cuts)):
        results['completion'] = complete(model, tasks, train)

    # results.md
    os.makedirs(out_dir, exist_ok=True)
    stem = 'judged' if samples else 'results'
    page = [f'# Results of {samples or out_dir}\n', table(['measure', 'value'], *headline(results))]
    if model:
        r = results['likelihood']
        page += ['## Likelihood\n', f'All {r["documents"]:,} validation workflows, {r["bytes"]:,} bytes of minified JSON; each token is predicted once, '
                 'with at least half a window of context. Only bits per byte compare across tokenizers.\n',
                 table(['tokens in the workflow', 'workflows', 'tokens', 'nats/token', 'perplexity', 'bits/byte'],
                       *([k, f"{x['documents']:,}", f"{x['tokens']:,}", f"{x['nats_per_token']:.3f}", f"{x['perplexity']:.1f}",
                          f"{x['bits_per_byte']:.3f}"] for k, x in [*r['by_length'].items(), ('all', r)])),
                 table(['tokens that hold', 'tokens', 'nats/token', 'share of all nats'],
                       *([k, f"{x['tokens']:,}", f"{x['nats_per_token']:.3f}", f"{x['share_of_nats']:.1%}"] for k, x in r['by_content'].items()))]
        if os.path.exists(os.path.join(out_dir, 'log.jsonl')):
            with open(os.path.join(out_dir, 'log.jsonl'), encoding='utf-8') as f:
                log = [json.loads(line) for line in f if line.endswith('\n')]
            figure, ax = plt.subplots(figsize=(8, 4))
            for k, label, width in (('loss', 'training batch', 0.8), ('val_loss', 'validation', 2)):
                ax.plot(*np.array([(x['iter'], x[k]) for x in log if k in x] or [(0, math.nan)]).T, label=label, linewidth=width)
            ax.set(xlabel='step', ylabel='loss (nats per token)')
            ax.legend()
            figure.savefig(os.path.join(out_dir, 'loss.png'), dpi=110, bbox_inches='tight')
            page.append('![loss](loss.png)\n')
    page += ['## Validity\n', 'Each rung counts what climbed those before it too. The validation set holds what prepare.py found valid, of '
             + ', '.join(f'{n / max(1, n + sum(m["skipped"].values()) - m["skipped"].get("exact duplicate", 0)):.1%}' for m in metas.values()
                         for n in [m['train']['documents'] + m['val']['documents']]) + ' of the files that it read.\n',
             table(['', *found], *([rung, *(rate(results[w]['rungs'][i], results[w]['n']) for w in found)] for i, rung in enumerate(RUNGS)),
                   *([text, *(results[w]['finish'].get(k, '-') for w in found)] for k, text in (
                       ('stop', 'finished by itself'), ('budget', f'closed at {max_new_tokens} tokens'), ('cut', f'cut off at {max_new_tokens} tokens'))),
                   ['draws that the matcher refused', *(f"{results[w]['refused']:.2%}" if 'refused' in results[w] else '-' for w in found)]),
             *(table([f'why not: {w}', 'count', 'example'], *([k[:100], n, e[:140]] for k, (n, e) in list(results[w]['reasons'].items())[:8]))
               for w in found if results[w]['reasons'])]
    if ours:
        a, b = copies.values()
        page += ['## Not copied, not collapsed\n', 'Likeness: Jaccard similarity of the sets of runs of 3 tokens. The real workflows are of other '
                 'projects than the training set.\n',
                 table(['', *copies], *([text, *(rate(x[k], x['n']) for x in (a, b))] for k, text in (
                     ('exact', 'copies of a training workflow'), ('over_0.8', 'likeness to one over 0.8'), ('distinct', 'distinct'),
                     ('canonical', 'tokenized as encode() would'))),
                     *([text, *(f'{x[k]:.2f}' for x in (a, b))] for k, text in (
                         ('nearest', 'likeness to the nearest training workflow, median'), ('self', 'likeness to the nearest of their own, median'))),
                     *([f'{k}: 10%, median, 90%; mean', *('{:.0f}, {:.0f}, {:.0f}; {:.1f}'.format(*x['sizes'][k]) for x in (a, b))] for k in a['sizes'])),
                 f'<details><summary>The sample most like a training workflow without being one (likeness {a["closest"]:.2f}), and that one</summary>\n',
                 *(f'```yaml\n{tct.json_to_yaml(text)}```\n' for text in a['closest_pair']), '</details>\n',
                 '## Looks like the real thing\n', 'Total variation distance from the validation set: 0 is the same, 1 has nothing in common. Beside it '
                 'that of as many training workflows: the floor.\n',
                 table(['distance of', 'samples', 'training workflows'], *([k, f"{x['samples']:.2f}", f"{x['train']:.2f}"] for k, x in results['looks'].items())),
                 f'![samples beside real workflows]({"judged" if samples else "looks"}.png)\n']
        picture_looks(os.path.join(out_dir, f'{"judged" if samples else "looks"}.png'), ours, val)
    if 'completion' in results:
        c = results['completion']
        page += ['## Useful: the next step\n', f'{c["cuts"]} validation workflows, each cut at a random step of a random job. The model writes on, greedily, '
                 f'constrained, at most {max_cut_tokens} tokens. In {c["uses"]} the next step is an action. (GH-WCOM, arXiv 2308.16774, reports up to '
                 '34.23% exact predictions, on other data, with paths, URLs and versions abstracted away: not the same task.)\n',
                 table(['', *list(c)[2:]], *([text, *(rate(c[w][k], c[of]) for w in list(c)[2:])] for k, of, text in (
                     ('exact', 'cuts', 'next step exactly'), ('action', 'uses', 'same action, version aside'),
                     ('kind', 'cuts', 'same kind (action or script)'), ('job', 'cuts', 'rest of the job exactly'))))]
    if lint:
        page += ['## Linted\n', table(['workflows with findings', *groups], *([k, *(rate(x[k], x['n']) for x in results['lint'].values())]
                 for k in results['lint']['real'] if k != 'n')) if len(results['lint']['real']) > 1 else 'Found neither zizmor nor actionlint.\n']
    command = ' '.join(['python', 'eval.py', *sys.argv[1:]])
    results['facts'] = {'command': command, 'step': checkpoint.get('iter_num'), 'data': data_dir, 'val_sha256': [m['val']['sha256'] for m in metas.values()],
                        'tokenizer_hash': tct.tokenizer_hash(), 'schema_hash': tct.schema_hash(), 'seed': seed, 'temperature': temperature,
                        'python': platform.python_version(), 'torch': torch.__version__, 'numpy': np.__version__, 'device': str(device),
                        'seconds': round(time.perf_counter() - _began)}
    page += ['## To repeat it\n', table(['fact', 'value'], *results['facts'].items())]
    write(os.path.join(out_dir, f'{stem}.json'), json.dumps(results, indent=1))
    write(os.path.join(out_dir, f'{stem}.md'), '\n'.join(page))
    print(f'{page[1]}\n{os.path.join(out_dir, stem)}.md has the details ({results["facts"]["seconds"]} s)\n{json.dumps(results)}')
