# 82 million parameters: torchrun --nproc_per_node=8 train.py config/medium.py, or python on one GPU
n_layer = 8
n_head = 12
n_embd = 768
# 128 rows * 1,024 tokens = 131,072 tokens a step, on 1, 2, 4, 8 or 16 GPUs: 16 rows each on eight.
# One alone keeps 0.35 GB a row for the backward pass, counted on a CPU, and some 6 GB besides: 50
# of 80 GB (not measured on a GPU)
batch_size = 128
gradient_accumulation_steps = 1
max_iters = 375
# twice what was set for a quarter of the rows: rates grow with the square root of the batch
# (https://arxiv.org/abs/2205.10287). Tiny ended at 0.465 bits per byte; with four times its rows in
# a quarter of its steps at 0.475 with its rates doubled, at 0.489 with its own
learning_rate = 0.02
embedding_lr = 0.28
unembedding_lr = 0.014
dropout = 0.1
