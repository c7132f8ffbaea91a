"""Muon, for the matrices of the blocks. model.GPT.configure_optimizers() sets it up."""

import math

import torch


class Muon(torch.optim.Muon):
    """torch.optim.Muon (https://kellerjordan.github.io/posts/muon/), a shape at a time.

    The same update and state, but torch's goes matrix by matrix, thousands of small kernels on a
    GPU, and always in bf16, which a CPU without bf16 instructions emulates, fifty times slower than
    float32: it would take most of a small model's step.
    """

    dtype = torch.bfloat16  # of the matrix products
    # Set as torch.amp.GradScaler does, fused AdamW reads it, too: a tensor of no dimension on the
    # device, 1.0 where a gradient is not finite. The step then changes nothing, and nobody has to
    # wait for the device to decide it.
    found_inf = None

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                shape = tuple(sorted(p.shape))  # a matrix and a transposed one have one
                by_shape.setdefault(shape, []).append(p)
            for params in by_shape.values():
                self.step_together(group, params)

    def step_together(self, group, params):
        """One update of matrices of equal shape."""
        rate = group["lr"]
        if self.found_inf is not None:
            rate = rate * (1 - self.found_inf)
        means = self.average_gradients(group, params)
        x = orthogonalize(
            stack_matrices(means, self.dtype),
            coefficients=group["ns_coefficients"],
            n_steps=group["ns_steps"],
            eps=group["eps"],
        )
        # the RMS of an AdamW update: https://arxiv.org/abs/2502.16982
        first = params[0]
        scale = 0.2 * math.sqrt(max(first.shape))
        update = x.to(first.dtype) * (-scale * rate)
        torch._foreach_mul_(params, 1 - group["weight_decay"] * rate)
        torch._foreach_add_(params, split_matrices(update, params))

    def average_gradients(self, group, params):
        """Take the gradients into the momentum; returns Nesterov's means of both."""
        grads = [p.grad for p in params]
        momentum = []
        for p in params:
            state = self.state[p]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(p)
            momentum.append(state["momentum_buffer"])
        if self.found_inf is not None:
            # the momentum takes in itself, and stays as it is
            pairs = zip(momentum, grads, strict=True)
            grads = [torch.where(self.found_inf > 0, m, grad) for m, grad in pairs]
        torch._foreach_lerp_(momentum, grads, 1 - group["momentum"])
        return torch._foreach_lerp(grads, momentum, group["momentum"])


def is_tall(matrix):
    n_rows, n_columns = matrix.shape
    return n_rows > n_columns


def stack_matrices(matrices, dtype):
    """(n, rows, columns) with rows <= columns, as dtype: tall matrices are transposed."""
    first = matrices[0]
    shape = (len(matrices), *sorted(first.shape))
    stack = torch.empty(shape, dtype=dtype, device=first.device)
    places = []
    for place, matrix in zip(stack, matrices, strict=True):
        places.append(place.mT if is_tall(matrix) else place)
    torch._foreach_copy_(places, matrices)
    return stack


def split_matrices(stack, like):
    """The matrices of a stack, each transposed where the one of `like` is tall."""
    wide = stack
    tall = stack.mT.contiguous() if any(map(is_tall, like)) else None
    matrices = []
    for i, matrix in enumerate(like):
        same_way = tall if is_tall(matrix) else wide
        matrices.append(same_way[i])
    return matrices


def orthogonalize(x, coefficients, n_steps, eps):
    """Newton-Schulz: drives all singular values of the matrices x (n, rows, columns) towards 1."""
    a, b, c = coefficients
    norms = x.norm(dim=(1, 2), keepdim=True)
    x = x / norms.clamp(min=eps)
    for _ in range(n_steps):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x
