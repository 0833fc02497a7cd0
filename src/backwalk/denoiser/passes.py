"""Hand-written passes through a residual network, in which training and sampling spend nearly all of their time.

    h_0 = W_in (x, level) + b_in,  h <- h + B silu(A silu(h) + a) + b for each block,  F = W_out silu(h) + b_out.

Parameters are one flat list, (weight, bias) layer by layer in the order of the passes; a weight is
(members, n_in, n_out), a bias (members, 1, n_out). The functions use only what TorchScript knows (`threads.scripted`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu

from backwalk.diffusion import scales


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x W + b, (members, rows, n_out)."""
    if _has_few_columns(weight):
        return product(x, weight) + bias
    return torch.baddbmm(bias, x, weight)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Return x W, (members, rows, n_out); for few columns as (W^T x^T)^T, which MKL computes faster."""
    if _has_few_columns(weight):
        return torch.bmm(weight.transpose(1, 2).contiguous(), x.transpose(1, 2)).transpose(1, 2).contiguous()
    return torch.bmm(x, weight)


def _has_few_columns(weight: Tensor) -> bool:
    return weight.shape[2] < 16


def prediction(x: Tensor, parameters: list[Tensor]) -> Tensor:
    """Return F, (members, rows, d): x holds points and level, (members, rows, d + 1)."""
    n = len(parameters)
    h = torch.baddbmm(parameters[1], x, parameters[0])
    for k in range(2, n - 2, 4):
        inner = silu(torch.baddbmm(parameters[k + 1], silu(h), parameters[k]))
        h = torch.baddbmm(h, inner, parameters[k + 2]) + parameters[k + 3]
    return affine(silu(h), parameters[n - 2], parameters[n - 1])


def prediction_in_place(x: Tensor, parameters: list[Tensor]) -> Tensor:
    """Return the bits of `prediction` by operations in place, which autograd does not allow."""
    n = len(parameters)
    return affine(last_units(x, parameters), parameters[n - 2], parameters[n - 1])


def last_units(x: Tensor, parameters: list[Tensor]) -> Tensor:
    """Return silu(h) after the last block, (members, rows, width)."""
    n = len(parameters)
    h = torch.baddbmm(parameters[1], x, parameters[0])
    for k in range(2, n - 2, 4):
        inner = torch.baddbmm(parameters[k + 1], silu(h), parameters[k])
        h.baddbmm_(silu(inner, inplace=True), parameters[k + 2]).add_(parameters[k + 3])
    return silu(h, inplace=True)


def prediction_and_slopes(x: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """Return F, (members, rows, d), and the slope of every silu, (members, rows, width), for `pushed`."""
    n, one = len(parameters), torch.ones([], dtype=x.dtype, device=x.device)
    slopes: list[Tensor] = []
    h = torch.baddbmm(parameters[1], x, parameters[0])
    for k in range(2, n - 2, 4):
        # For y = h s with s = sigmoid(h), dy/dh is s + (1 - s) y: 1 mixed with y.
        gate = torch.sigmoid(h)
        outer = h * gate
        slopes.append(torch.lerp(outer, one, gate, out=gate))
        middle = torch.baddbmm(parameters[k + 1], outer, parameters[k])
        gate = torch.sigmoid(middle)
        inner = middle.mul_(gate)
        slopes.append(torch.lerp(inner, one, gate, out=gate))
        h.baddbmm_(inner, parameters[k + 2]).add_(parameters[k + 3])
    gate = torch.sigmoid(h)
    last = h.mul_(gate)
    slopes.append(torch.lerp(last, one, gate, out=gate))
    return [affine(last, parameters[n - 2], parameters[n - 1])] + slopes  # noqa: RUF005 - TorchScript cannot unpack


def pushed(tangents: Tensor, slopes: list[Tensor], parameters: list[Tensor]) -> Tensor:
    """Return the derivatives of F along tangents of the points, (members, k, rows, d), at a constant level."""
    members, k, rows, d = tangents.shape
    n = len(parameters)
    flat, apart = (members, k * rows, -1), (members, k, rows, -1)
    h = torch.bmm(tangents.reshape(flat), parameters[0][:, :d])
    for i in range(2, n - 2, 4):
        outer_slope, inner_slope = slopes[i // 2 - 1].unsqueeze(1), slopes[i // 2].unsqueeze(1)
        outer = (h.view(apart) * outer_slope).view(flat)
        inner = torch.bmm(outer, parameters[i]).view(apart).mul_(inner_slope).view(flat)
        h.baddbmm_(inner, parameters[i + 2])
    last = h.view(apart).mul_(slopes[-1].unsqueeze(1)).view(flat)
    return product(last, parameters[n - 2]).view(apart)


def residual_parts(log_snr: Tensor, x: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a, b, b g and the network's ln q / 4 of `ResidualDenoiser`, of log_snr's shape: (members, rows, 1)."""
    a, b = scales(log_snr, x)
    # 1e6 is the square of GREATEST_LEVEL, at which x_t is noise alone.
    level_sq = torch.exp(-log_snr).clamp(max=1e6)
    smoothed_sq = level_sq + floor**2
    return a, b, b * torch.sqrt(level_sq / smoothed_sq), 0.125 * torch.log(smoothed_sq)


def residual_mean(x_t: Tensor, log_snr: Tensor, floor: float, parameters: list[Tensor]) -> Tensor:
    """Return x_0_hat, (n, d), the mean over a residual denoiser's members: x_t is (n, d), log_snr () or (n,).

    On a CPU members are computed one by one, so that activations stay in the cache.
    """
    a, _, share, level = residual_parts(log_snr.reshape(-1, 1), x_t, floor)
    x = torch.cat([x_t, level.expand(x_t.shape[0], 1)], dim=-1).unsqueeze(0)
    members = parameters[0].shape[0]
    if x.device.type != "cpu":
        return a * x_t + share * prediction_in_place(x.expand(members, -1, -1), parameters).mean(dim=0)
    total = prediction_in_place(x, [parameter[:1] for parameter in parameters])
    for k in range(1, members):
        total.add_(prediction_in_place(x, [parameter[k : k + 1] for parameter in parameters]))
    return a * x_t + share / members * total[0]


def prediction_kept(x: Tensor, parameters: list[Tensor], half: bool) -> list[Tensor]:
    """Return F, (members, rows, d), and the activations that `gradients_by` reads: x is (members, rows, n_in).

    With `half` the blocks' products are of numbers rounded to bfloat16; what leaves them is of x's type again.
    """
    whole = x.dtype
    factor = torch.bfloat16 if half else whole
    n, one = len(parameters), torch.ones([], dtype=x.dtype, device=x.device)
    kept: list[Tensor] = []
    h = torch.baddbmm(parameters[1], x, parameters[0])
    for k in range(2, n - 2, 4):
        # For y = h s with s = sigmoid(h), dy/dh is s + (1 - s) y: 1 mixed with y.
        gate = torch.sigmoid(h)
        value = h * gate
        outer, outer_slope = value.to(factor), torch.lerp(value, one, gate, out=gate)
        if half:
            middle = torch.bmm(outer, parameters[k].to(factor)).to(whole).add_(parameters[k + 1])
        else:
            middle = torch.baddbmm(parameters[k + 1], outer, parameters[k])
        gate = torch.sigmoid(middle)
        value = middle.mul_(gate)
        inner, inner_slope = value.to(factor), torch.lerp(value, one, gate, out=gate)
        if half:
            h.add_(torch.bmm(inner, parameters[k + 2].to(factor)).to(whole)).add_(parameters[k + 3])
        else:
            h.baddbmm_(inner, parameters[k + 2]).add_(parameters[k + 3])
        kept += [outer, outer_slope, inner, inner_slope]
    gate = torch.sigmoid(h)
    last = h.mul_(gate)
    kept += [last, torch.lerp(last, one, gate)]
    return [affine(last, parameters[n - 2], parameters[n - 1])] + kept  # noqa: RUF005 - TorchScript cannot unpack


def gradients_by(by_f: Tensor, x: Tensor, kept: list[Tensor], parameters: list[Tensor], half: bool) -> list[Tensor]:
    """Return the gradients by `parameters` of a loss whose gradient by F is `by_f`, from `prediction_kept`."""
    by_last = torch.bmm(by_f, parameters[len(parameters) - 2].transpose(1, 2))
    return gradients_within(by_f, by_last, x, kept, parameters, half)[:-1]


def gradients_within(
    by_f: Tensor, by_last: Tensor, x: Tensor, kept: list[Tensor], parameters: list[Tensor], half: bool
) -> list[Tensor]:
    """Return the gradients by `parameters`, and by each row's h_0, (members, rows, width), given that by silu(h)."""
    whole, n = x.dtype, len(parameters)
    factor = torch.bfloat16 if half else whole
    last, last_slope = kept[n - 4], kept[n - 3]
    gradients = [product(last.transpose(1, 2), by_f), by_f.sum([1], keepdim=True)]
    by_h = by_last.mul_(last_slope)
    for k in range(n - 6, 1, -4):
        outer, outer_slope, inner, inner_slope = kept[k - 2], kept[k - 1], kept[k], kept[k + 1]
        by_h_factor = by_h.to(factor)
        by_closing = torch.bmm(inner.transpose(1, 2), by_h_factor).to(whole)
        behind = torch.bmm(by_h_factor, parameters[k + 2].to(factor).transpose(1, 2)).to(whole).mul_(inner_slope)
        behind_factor = behind.to(factor)
        by_opening = torch.bmm(outer.transpose(1, 2), behind_factor).to(whole)
        through = torch.bmm(behind_factor, parameters[k].to(factor).transpose(1, 2)).to(whole)
        by_a, by_b = behind.sum([1], keepdim=True), by_h.sum([1], keepdim=True)
        gradients = [by_opening, by_a, by_closing, by_b] + gradients  # noqa: RUF005 - TorchScript cannot unpack
        by_h.addcmul_(through, outer_slope)
    by_enter = torch.bmm(x.transpose(1, 2), by_h)
    return [by_enter, by_h.sum([1], keepdim=True)] + gradients + [by_h]  # noqa: RUF005


def loss_and_gradients(
    x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, floor: float, parameters: list[Tensor], half: bool
) -> list[Tensor]:
    """Return the sum over rows of weight |x_0 - x_0_hat|^2 for a residual denoiser, and its gradients by `parameters`.

    x_0 and eps are (members, rows, d), log_snr and weight (members, rows, 1). `half` is as for `prediction_kept`.
    """
    a, b, share, level = residual_parts(log_snr, x_0, floor)
    x_t = a * x_0 + b * eps
    x = torch.cat([x_t, level], dim=-1)
    passed = prediction_kept(x, parameters, half)
    error = x_0 - a * x_t - share * passed[0]
    weighted = weight * error
    loss = (weighted * error).sum()
    return [loss] + gradients_by(-2.0 * share * weighted, x, passed[1:], parameters, half)  # noqa: RUF005
