"""A trained layer as sentence-transformers' Dense module, for whole trials and exports; and back."""

import torch
from sentence_transformers.base.modules import Dense as DenseModule

from tune.train.frozen.dense import Dense, first_dims


def dense_module(dense: Dense) -> DenseModule:
    """Return a module with a copy of a layer's weights, in evaluation mode; unlike the layer, autograd can train it."""
    bias = dense.linear.bias
    with torch.random.fork_rng(devices=[]):  # its own start, which is replaced, draws random numbers
        module = DenseModule(
            dense.linear.in_features,
            dense.linear.out_features,
            bias is not None,
            torch.nn.Tanh() if dense.tanh else torch.nn.Identity(),
            init_weight=dense.linear.weight.detach().clone(),
            init_bias=None if bias is None else bias.detach().clone(),
        )
    return module.eval()


def module_first_dims(module: DenseModule, dims: int) -> DenseModule:
    """Return a module that outputs the first `dims` components of another."""
    bias, tanh = module.linear.bias, isinstance(module.activation_function, torch.nn.Tanh)
    dense = Dense(module.linear.weight.detach(), None if bias is None else bias.detach(), tanh=tanh)
    return dense_module(first_dims(dense, dims))


def only_first_dims(dims_in: int, dims: int) -> DenseModule:
    """Return a module that passes on the first `dims` components of vectors, for a model that ends without a Dense."""
    return dense_module(Dense(torch.eye(dims, dims_in), None))
