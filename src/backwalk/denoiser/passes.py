"""Hand-written passes through a residual network, in which training and sampling spend nearly all of their time.

    h_0 = W_in (x, level) + b_in,  h <- h + B silu(A silu(h) + a) + b for each block,  F = W_out silu(h) + b_out.

Autograd takes 1.2 to 1.5 times as long, as it does not compute a silu and its slope together. Parameters are one flat
list, (weight, bias) layer by layer in the order of the passes; a weight is (members, n_in, n_out), a bias
(members, 1, n_out). The first bias may be (members, rows, n_out), one for each row.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x W + b, (members, rows, n_out)."""
    if _has_few_columns(weight):
        return product(x, weight) + bias
    return torch.baddbmm(bias.mT, weight.mT, x.mT).mT  # those of one output follow each other


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Return x W, (members, rows, n_out); for few columns as (W^T x^T)^T, which MKL computes faster."""
    if _has_few_columns(weight):
        return torch.bmm(weight.mT.contiguous(), x.mT).mT.contiguous()
    return torch.bmm(x, weight)


def _add_product(h: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return h + x W, in the place of h unless autograd may need it."""
    return torch.baddbmm(h, x, weight) if h.requires_grad or x.requires_grad else h.baddbmm_(x, weight)


def _has_few_columns(weight: Tensor) -> bool:
    return weight.shape[2] < 16


def network_pass(x: Tensor, parameters: list[Tensor], bfloat16: bool = False) -> tuple[Tensor, Tensor]:
    """Return F, (members, rows, n_out), and silu(h) after the last block, (members, rows, width).

    x holds points and level, (members, rows, n_in). Autograd differentiates the result once by parameters, and as often
    as you like by x alone. With `bfloat16` the factors of the blocks' products are rounded, if parameters are trained.
    """
    if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters):
        return cast("tuple[Tensor, Tensor]", _Pass.apply(x, bfloat16, *parameters))  # type: ignore[no-untyped-call]
    h = torch.baddbmm(parameters[1], x, parameters[0])
    for k in range(2, len(parameters) - 2, 4):
        inner = torch.baddbmm(parameters[k + 1], silu(h), parameters[k])
        h = _add_product(h, silu(inner, inplace=not inner.requires_grad), parameters[k + 2]).add_(parameters[k + 3])
    last = silu(h, inplace=not h.requires_grad)
    return affine(last, *parameters[-2:]), last


class Passed(NamedTuple):
    """The result of a forward pass, and what a backward pass reads.

    `units` are the values of every silu but the last, `last`, and `slopes` the derivatives of every silu, each
    (members, rows, width): two for each block, and that of the last.
    """

    f: Tensor
    last: Tensor
    units: list[Tensor]
    slopes: list[Tensor]


def forward_pass(x: Tensor, parameters: list[Tensor], bfloat16: bool = False) -> Passed:
    """Return F, (members, rows, n_out), and all values and slopes.

    Autograd follows where x alone asks for a gradient. With `bfloat16` the blocks' products are of numbers rounded to
    it; what leaves them is of x's type again.
    """
    one = torch.ones([], dtype=x.dtype, device=x.device)
    factor = torch.bfloat16 if bfloat16 else x.dtype
    units, slopes = list[Tensor](), list[Tensor]()

    def activated(y: Tensor, out: Tensor | None = None) -> Tensor:
        # For v = y s with s = sigmoid(y), dv/dy is s + (1 - s) v: 1 mixed with v.
        gate = torch.sigmoid(y)
        if y.requires_grad:  # autograd needs y and the gate
            value = y * gate
            slopes.append(torch.lerp(value, one, gate))
            return value
        value = torch.mul(y, gate, out=out)
        slopes.append(torch.lerp(value, one, gate, out=gate))
        return value

    h = torch.baddbmm(parameters[1], x, parameters[0])
    for k in range(2, len(parameters) - 2, 4):
        opening, a, closing, b = parameters[k : k + 4]
        outer = activated(h).to(factor)
        if bfloat16:
            middle = torch.bmm(outer, opening.to(factor)).to(x.dtype).add_(a)
        else:
            middle = torch.baddbmm(a, outer, opening)
        inner = activated(middle, out=middle).to(factor)
        if bfloat16:
            h.add_(torch.bmm(inner, closing.to(factor)).to(x.dtype)).add_(b)
        else:
            h = _add_product(h, inner, closing).add_(b)
        units += [outer, inner]
    last = activated(h, out=h)
    return Passed(affine(last, *parameters[-2:]), last, units, slopes)


def pushed(tangents: Tensor, slopes: list[Tensor], parameters: list[Tensor]) -> Tensor:
    """Return the derivatives of F along tangents of the points, (members, k, rows, d), at a constant level."""
    members, k, rows, d = tangents.shape
    flat, by_tangent = (members, k * rows, -1), (members, k, rows, -1)
    h = torch.bmm(tangents.reshape(flat), parameters[0][:, :d])
    for i in range(2, len(parameters) - 2, 4):
        outer_slope, inner_slope = slopes[i // 2 - 1].unsqueeze(1), slopes[i // 2].unsqueeze(1)
        outer = (h.view(by_tangent) * outer_slope).view(flat)
        inner = torch.bmm(outer, parameters[i]).view(by_tangent).mul_(inner_slope).view(flat)
        h = _add_product(h, inner, parameters[i + 2])
    last = h.view(by_tangent).mul_(slopes[-1].unsqueeze(1)).view(flat)
    return product(last, parameters[-2]).view(by_tangent)


def backward_pass(
    by_f: Tensor, by_last: Tensor | None, x: Tensor, passed: Passed, parameters: list[Tensor], bfloat16: bool
) -> tuple[list[Tensor], Tensor]:
    """Return the gradients by `parameters`, and by each row's h_0, (members, rows, width), of a loss.

    `by_f` and `by_last` are those by F and, if it has other uses, by the last silu(h). `passed` is the forward pass
    from x.
    """
    units, slopes, factor = passed.units, passed.slopes, torch.bfloat16 if bfloat16 else x.dtype
    gradients = [product(passed.last.mT, by_f), by_f.sum(1, keepdim=True)]
    by_h = torch.bmm(by_f, parameters[-2].mT)
    if by_last is not None:
        by_h += by_last
    by_h *= slopes[-1]
    for k in range(len(parameters) - 6, 1, -4):
        outer, inner = (k - 2) // 2, (k - 2) // 2 + 1  # the places of the block's silus
        rounded = by_h.to(factor)
        by_closing = torch.bmm(units[inner].mT, rounded).to(x.dtype)
        by_middle = torch.bmm(rounded, parameters[k + 2].to(factor).mT).to(x.dtype).mul_(slopes[inner])
        by_a, by_b = by_middle.sum(1, keepdim=True), by_h.sum(1, keepdim=True)
        rounded = by_middle.to(factor)
        by_opening = torch.bmm(units[outer].mT, rounded).to(x.dtype)
        through = torch.bmm(rounded, parameters[k].to(factor).mT).to(x.dtype)
        gradients = [by_opening, by_a, by_closing, by_b, *gradients]
        by_h.addcmul_(through, slopes[outer])
    by_bias = by_h if parameters[1].shape[1] > 1 else by_h.sum(1, keepdim=True)
    return [torch.bmm(x.mT, by_h), by_bias, *gradients], by_h


class _Pass(torch.autograd.Function):
    """The two passes as an operation of autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bfloat16: bool, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        passed = forward_pass(x, list(parameters), bfloat16)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, passed.last, *parameters)
        ctx.units, ctx.slopes, ctx.bfloat16 = passed.units, passed.slopes, bfloat16
        return passed.f, passed.last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_f: Tensor, by_last: Tensor | None) -> tuple[Tensor | None, ...]:
        x, last, *parameters = ctx.saved_tensors
        passed = Passed(last, last, ctx.units, ctx.slopes)
        gradients, by_h = backward_pass(by_f, by_last, x, passed, parameters, ctx.bfloat16)
        by_x = torch.bmm(by_h, parameters[0].mT) if ctx.needs_input_grad[0] else None
        return (by_x, None, *gradients)
