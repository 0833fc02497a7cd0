"""The mathematics of denoising diffusion: pure functions of tensors, without learned weights, files or column names.

Read in this order: `schedule`, `forward`, `parameterization`, `reverse`, `terms`, `bound`; then `ode` for the
deterministic view. `closed_forms` has exact answers, `posteriors` and `discriminant` those from which a table's
denoiser starts, with the moments of `gaussian_em`, and `conditioning` gives conditionals and marginals.

Glossary (the names of Ho et al. 2020 where they exist, but N for their T; arrays are indexed by t = 0..n_steps, so
`beta[t]` is beta_t):

==================  =================================================================================================
n, d                rows and dimensions; points are (n, d)
n_steps, N          the number of steps of the chain; t = 1..N, and t = 0 is clean data
x_0, x_t, x_s, x_N  a data point; the same point after t steps, after s < t steps, after all
eps, eps_theta      standard normal noise in x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps; its estimate
x_0_hat             the estimate of x_0 that a `Denoiser` returns, E[x_0 | x_t]
v                   sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0
beta, alpha         the variance that a forward step adds, and 1 - beta
alpha_bar           the product of the alphas up to t: the share of signal in the variance of x_t, for unit variance
snr, log_snr        alpha_bar / (1 - alpha_bar), and its natural logarithm: () for all rows, (n,) for one noise level
                    per row, (n, d) for one per coordinate
known, absent       coordinates at log-SNR +inf, where x_t is x_0, and at -inf, where x_t carries no signal
free                coordinates that are neither known nor absent, at the chain's noise level
noise_level, s      Karras' sigma, sqrt((1 - alpha_bar) / alpha_bar): the noise in unscaled points x = x_0 + s eps;
                    as an index, in x_s, an earlier step: s < t
s_min, s_max        the least and the greatest noise level of a chain, at t = 1 and t = N
a, b                sqrt(alpha_bar) and sqrt(1 - alpha_bar): the factors of signal and noise in x_t = a x_0 + b eps
A, B                diag(a) and diag(b), with a noise level for each coordinate
theta               arctan s, the angle: a = cos theta and b = sin theta; as an index, a network's weights
score               the gradient of ln q(x_t) by x_t; but `score_samples` is scikit-learn's name of a log-density
lambda, h, r        log_snr / 2; its rise in a step of a solver; the step before over this one
eta                 the share of fresh noise in a DDIM step, 0..1: its variance is eta^2 beta_tilde
mu_tilde            the mean of q(x_{t-1} | x_t, x_0)
beta_tilde          the variance of q(x_{t-1} | x_t, x_0), 0 at t = 1
mu_theta            the mean of p_theta(x_{t-1} | x_t)
sigma_sq            the reverse variances sigma_t^2 of p_theta(x_{t-1} | x_t); sigma_sq[1] is the decoder's
denoising_error, m  the mean of |x_0 - x_0_hat|^2 / d, at each t
L_N, L_{t-1}, L_0   the bound's prior, transition and reconstruction terms
z                   rows in the codec's encoded units: d coordinates, most of mean 0 and variance 1
Z                   latents: the x_N that the probability-flow ODE carries rows to
k, K                a number of visited steps, of probes, of components, or of encoded coordinates
nats                the unit of every log-density and divergence, summed over d: "nats per row"
q_..., p_...        functions of the forward and of the reverse process
==================  =================================================================================================
"""

from backwalk.diffusion.bound import (
    denoising_error,
    mismatch_along_axes,
    moments,
    prior_mismatch,
    prior_term,
    refuse_lost_noise,
    simple_loss,
    simple_loss_at,
    variational_bound,
)
from backwalk.diffusion.closed_forms import GaussianDenoiser, GaussianMixtureDenoiser
from backwalk.diffusion.conditioning import ConditionalDenoiser, log_snr_by_coordinate
from backwalk.diffusion.derivatives import linearize
from backwalk.diffusion.discriminant import Discriminants, variates_of
from backwalk.diffusion.forward import Gaussian, q_marginal, q_posterior, q_sample, q_sample_at, q_step
from backwalk.diffusion.gaussian_em import Moments, moments_with_gaps
from backwalk.diffusion.ode import LogDensity, integrate_ode, log_density
from backwalk.diffusion.parameterization import (
    Denoiser,
    WrappedDenoiser,
    check_denoiser,
    check_log_snr_range,
    check_schedule,
    denoise_at_time,
    eps_from_v,
    eps_from_x_0,
    refuse_levels_per_coordinate,
    score_from_eps,
    score_from_x_0,
    v_from_eps,
    v_from_x_0,
    x_0_from_eps,
    x_0_from_v,
)
from backwalk.diffusion.posteriors import (
    GaussianPosterior,
    JointGaussian,
    LevelsDenoiser,
    level_log_posterior,
)
from backwalk.diffusion.reverse import (
    beta_tilde_variance,
    beta_variance,
    mu_from_eps,
    mu_from_x_0,
    optimal_variance,
    p_transition,
)
from backwalk.diffusion.schedule import NoiseSchedule, at_time, evenly_spaced, refuse_steps, scales
from backwalk.diffusion.terms import BoundTerms, add_levels, collect_terms, merge_terms

__all__ = [
    "BoundTerms",
    "ConditionalDenoiser",
    "Denoiser",
    "Discriminants",
    "Gaussian",
    "GaussianDenoiser",
    "GaussianMixtureDenoiser",
    "GaussianPosterior",
    "JointGaussian",
    "LevelsDenoiser",
    "LogDensity",
    "Moments",
    "NoiseSchedule",
    "WrappedDenoiser",
    "add_levels",
    "at_time",
    "beta_tilde_variance",
    "beta_variance",
    "check_denoiser",
    "check_log_snr_range",
    "check_schedule",
    "collect_terms",
    "denoise_at_time",
    "denoising_error",
    "eps_from_v",
    "eps_from_x_0",
    "evenly_spaced",
    "integrate_ode",
    "level_log_posterior",
    "linearize",
    "log_density",
    "log_snr_by_coordinate",
    "merge_terms",
    "mismatch_along_axes",
    "moments",
    "moments_with_gaps",
    "mu_from_eps",
    "mu_from_x_0",
    "optimal_variance",
    "p_transition",
    "prior_mismatch",
    "prior_term",
    "q_marginal",
    "q_posterior",
    "q_sample",
    "q_sample_at",
    "q_step",
    "refuse_levels_per_coordinate",
    "refuse_lost_noise",
    "refuse_steps",
    "scales",
    "score_from_eps",
    "score_from_x_0",
    "simple_loss",
    "simple_loss_at",
    "v_from_eps",
    "v_from_x_0",
    "variates_of",
    "variational_bound",
    "x_0_from_eps",
    "x_0_from_v",
]
