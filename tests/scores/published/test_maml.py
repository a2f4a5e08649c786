"""Meta-gradients against finite differences, in float64."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from curate.scores.published.rad.maml import InnerLoop, adapt, query_loss

Params = dict[str, Tensor]


def loss(params: Params, batch: Tensor) -> Tensor:
    """A loss with curvature that depends on the weights."""
    hidden = torch.tanh(batch @ params["first"])
    return (hidden @ params["second"]).square().mean() + torch.sin(params["first"]).sum() * 0.1


def drawn() -> tuple[Params, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {"first": draw(3, 4), "second": draw(4)}, draw(16, 3), draw(16, 3)


def differences(value_of, params: Params, step: float = 1e-6) -> Params:
    out = {}
    for name, weight in params.items():
        out[name] = torch.zeros_like(weight)
        for at in range(weight.numel()):
            shift = torch.zeros_like(weight)
            shift.view(-1)[at] = step
            ends = [value_of(params | {name: weight + sign * shift}) for sign in (1, -1)]
            out[name].view(-1)[at] = (ends[0] - ends[1]) / (2 * step)
    return out


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_the_second_order_meta_gradient_equals_finite_differences(steps: int):
    params, support, query = drawn()
    inner = InnerLoop(steps=steps, rate=0.1, second_order=True)

    def outer(theta: Params) -> Tensor:
        return query_loss(loss, theta, support, query=query, inner=inner)[0]

    assert_close(torch.func.grad(outer)(params), differences(outer, params), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_the_first_order_meta_gradient_is_the_querys_at_the_fast_weights(steps: int):
    params, support, query = drawn()
    inner = InnerLoop(steps=steps, rate=0.1)

    def outer(theta: Params) -> Tensor:
        return query_loss(loss, theta, support, query=query, inner=inner)[0]

    fast, _ = adapt(loss, params, support, inner=inner)
    expected = differences(lambda theta: loss(theta, query), fast)
    assert_close(torch.func.grad(outer)(params), expected, rtol=1e-6, atol=1e-8)


def test_first_and_second_order_take_the_same_steps_and_differ_in_gradient():
    params, support, query = drawn()
    values, gradients = [], []
    for inner in (InnerLoop(steps=2, rate=0.1, second_order=second_order) for second_order in (False, True)):

        def outer(theta: Params, inner: InnerLoop = inner) -> Tensor:
            return query_loss(loss, theta, support, query=query, inner=inner)[0]

        gradient, value = torch.func.grad_and_value(outer)(params)
        values.append(value)
        gradients.append(gradient["first"])
    assert_close(values[0], values[1])
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3


def test_adapting_follows_plain_gradient_descent_and_leaves_the_weights_alone():
    params, support, _ = drawn()
    before = {name: weight.clone() for name, weight in params.items()}
    fast, loss_before = adapt(loss, params, support, inner=InnerLoop(steps=1, rate=0.1))
    gradient = differences(lambda theta: loss(theta, support), params)
    assert_close(fast, {name: params[name] - 0.1 * gradient[name] for name in params}, rtol=1e-6, atol=1e-8)
    assert_close(params, before)
    assert_close(loss_before, loss(params, support))


def test_a_support_batch_is_fitted_better_after_more_steps():
    params, support, _ = drawn()
    fast = [adapt(loss, params, support, inner=InnerLoop(steps=steps, rate=0.05))[0] for steps in (1, 2, 5)]
    losses = [float(loss(weights, support)) for weights in fast]
    assert losses == sorted(losses, reverse=True)


def test_an_inner_loop_without_a_step_is_refused():
    with pytest.raises(ValueError, match="one step at least"):
        InnerLoop(steps=0, rate=0.1)
