# 5 million parameters, a laptop's CPU, two to four minutes: python train.py config/tiny.py
n_layer = 4
n_head = 2
n_embd = 128
# short rows make attention cheap; nine workflows of ten fit, longer ones are read in windows
block_size = 256
# 8 rows * 256 tokens = 2,048 tokens a step; the default data, 527,000 tokens, are 258 steps,
# and 287 with a tenth of them spelled by their parts
batch_size = 8
gradient_accumulation_steps = 1
max_iters = 850
eval_interval = 170
learning_rate = 0.01
embedding_lr = 0.2
unembedding_lr = 0.015
dropout = 0.0  # 0.1 was no better in these three epochs, and five were worse
warmup_iters = 10
