# 185 million parameters: torchrun --nproc_per_node=8 train.py config/large.py, or python on one GPU
n_layer = 12
n_head = 16
n_embd = 1024
# 64 rows * 2 * 1,024 tokens = 131,072 tokens a step, on 1, 2, 4, 8, 16 or 32 GPUs: 16 rows each on
# eight. 64 rows on one keep 0.69 GB each for the backward pass, counted on a CPU, and some 8 GB
# besides: 52 of 80 GB (not measured on a GPU)
batch_size = 64
gradient_accumulation_steps = 2
max_iters = 500
# as in medium.py, twice what was set for a quarter of the rows
learning_rate = 0.02
embedding_lr = 0.24
unembedding_lr = 0.012
dropout = 0.1
