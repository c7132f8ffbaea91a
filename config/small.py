# 27 million parameters, one GPU: python train.py config/small.py
n_layer = 8
n_head = 6
n_embd = 384
# 16 rows * 1,024 tokens = 16,384 tokens a step; 500,000 tokens, the default data, are 31 steps
# 1,000 steps are three epochs of 5 million tokens; of the default data --max_iters=100 are three,
# val still falling at their end
batch_size = 16
gradient_accumulation_steps = 1
max_iters = 1000
learning_rate = 0.01
embedding_lr = 0.2
unembedding_lr = 0.01
embedding_decay = 0.02  # the only one tried
dropout = 0.1
