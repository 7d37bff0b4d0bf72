"""The losses of the `loss` axis, with several dims (Matryoshka)."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

from tests.helpers.tiny import Prepared
from tune.config.space import LOSSES
from tune.train.dense_module import dense_module
from tune.train.frozen.dense import make_dense
from tune.train.losses import LOSS_KINDS, make_loss


@pytest.mark.parametrize("loss", LOSSES)
def test_a_matryoshka_loss_is_the_sum_of_the_losses_at_each_dims(prepared: Prepared, loss: str) -> None:
    kind = LOSS_KINDS[loss]
    labels = torch.tensor([1, 0, 1, 0, 1, 1, 0, 0]).to(kind.labels)
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(8, 24, generator=generator) for _ in range(2)]

    def value(smaller: tuple[int, ...], dims: int) -> float:
        """Return the loss of a layer that outputs the first `dims` components of `whole`."""
        dense = make_dense(prepared.config(dims=dims), 24)
        dense.load_state_dict({name: tensor[:dims] for name, tensor in whole.state_dict().items()})
        # At every dims the loss sees unit vectors, which matters only for the angle loss.
        model = SentenceTransformer(modules=[dense_module(dense), Normalize()], device="cpu")
        loss_of = make_loss(loss, model, smaller)
        return loss_of([{"sentence_embedding": side} for side in features], labels).item()

    whole = make_dense(prepared.config(dims=16), 24)
    parts = [value((), dims) for dims in (4, 8, 16)]
    assert value((4, 8, 16), 16) == pytest.approx(sum(parts), rel=1e-5)
    assert value((4, 8, 16), 16) == value((16, 8, 4), 16)
