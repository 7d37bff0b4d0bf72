"""The losses of the `loss` axis on a layer's output, each with its gradient in closed form.

Equal in value to sentence-transformers' classes with their defaults (`tune.train.losses` has those, for trials that
train the base model). scores.py: losses of each pair's score; pairs.py and ranking.py: gradients by the vectors;
matryoshka.py: `loss_for`, the entry point. numpy for numbers per pair, torch for vectors; no autograd.
"""
