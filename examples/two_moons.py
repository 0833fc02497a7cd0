# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Two moons by denoising diffusion
#
# Noise is added to points in small steps until nothing of them is left. A network learns to undo one step. Then new
# points are made by starting from noise and walking back.
#
# This notebook derives the method, trains the textbook model on two moons and on circles, looks at the samples, and
# then asks what the textbook's settings cost and how to mend them. It needs `backwalk`, and Jupyter to run it.
# With the numbers below that takes a quarter to half an hour on one processor core; the lengths are all in the next
# cell.

# %% tags=["parameters"]
N_EPOCHS = 5_000  # of the textbook model: the course's number
MAX_STEPS = None  # of the default model: None leaves it to the library
N_ROWS = 10_000  # points in every set that is judged
N_PAIRS = 8  # pairs of such sets

# %%
import numpy as np
import torch
from sklearn.datasets import make_circles, make_moons
from sklearn.mixture import GaussianMixture

from backwalk import Diffusion, NoiseSchedule
from backwalk.assess.statistics import (
    c2st,
    compare,
    disjoint_pairs,
    mean_estimate,
    paired_gap,
    sliced_wasserstein,
    total_variation,
)
from backwalk.datasets import two_moons
from backwalk.diffusion import mu_from_eps, prior_mismatch, q_posterior, q_sample, q_step
from backwalk.model import walk
from backwalk.report.figures import (
    plot_bound,
    plot_chain,
    plot_loss,
    plot_nats,
    plot_points,
    plot_schedule,
    plot_side_by_side,
)
from backwalk.streams import Stream

# %matplotlib inline

# %% [markdown]
# ## 1. The theory
#
# Notation: a point is $x_0 \in \mathbb{R}^d$; time runs over $t = 1, \dots, N$ (a course may write $k$ for our $t$);
# $\beta_t \in (0, 1)$ is the variance added by step $t$, $\alpha_t = 1 - \beta_t$, and
# $\bar\alpha_t = \alpha_1 \alpha_2 \cdots \alpha_t$ with $\bar\alpha_0 = 1$. Logarithms are natural, so every
# log-density and divergence is in nats.
#
# ### 1.1 Forward: from data to noise
#
# One step shrinks the point a little and adds a little noise:
#
# $$q(x_t \mid x_{t-1}) = \mathcal{N}\big(x_t;\ \sqrt{1 - \beta_t}\, x_{t-1},\ \beta_t I\big).$$
#
# Many steps can be taken at once. If $x_{t-1} = \sqrt{\bar\alpha_{t-1}}\, x_0 + \sqrt{1 - \bar\alpha_{t-1}}\, \eta$
# with $\eta$ standard normal, then
# $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{\alpha_t (1 - \bar\alpha_{t-1})}\, \eta + \sqrt{\beta_t}\, \eta'$. The two
# noises are independent, so their variances add: $\alpha_t - \bar\alpha_t + \beta_t = 1 - \bar\alpha_t$. By induction
#
# $$q(x_t \mid x_0) = \mathcal{N}\big(x_t;\ \sqrt{\bar\alpha_t}\, x_0,\ (1 - \bar\alpha_t) I\big),
# \qquad x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon,
# \quad \varepsilon \sim \mathcal{N}(0, I).$$
#
# $\bar\alpha_t$ is the share of signal that is left. **If** $\bar\alpha_N$ is close to $0$, then $x_N$ is pure noise,
# whatever $x_0$ was. Keep this "if" in mind.
#
# ### 1.2 Reverse: from noise to data
#
# The model is a chain that runs the other way, with a learned mean:
#
# $$p(x_N) = \mathcal{N}(x_N;\ 0, I), \qquad
# p_\theta(x_{t-1} \mid x_t) = \mathcal{N}\big(x_{t-1};\ \mu_\theta(x_t, t),\ \sigma_t^2 I\big).$$
#
# The density that it generates is what remains after integrating over all paths that end in $x_0$:
#
# $$p_\theta(x_0) = \int p(x_N) \prod_{t=1}^N p_\theta(x_{t-1} \mid x_t)\ dx_1 \cdots dx_N.$$
#
# ### 1.3 A bound that can be computed
#
# Maximum likelihood wants $\mathbb{E}[-\log p_\theta(x_0)]$ small, but the integral is out of reach. Multiply and
# divide by $q(x_1, \dots, x_N \mid x_0) = \prod_t q(x_t \mid x_{t-1})$, so that the integral becomes a mean over
# forward paths, and use Jensen's inequality ($-\log$ is convex):
#
# $$-\log p_\theta(x_0) =
# -\log \mathbb{E}_q\!\left[ p(x_N) \prod_t \frac{p_\theta(x_{t-1} \mid x_t)}{q(x_t \mid x_{t-1})} \right]
# \le \mathbb{E}_q\!\left[ -\log p(x_N) -
# \sum_{t=1}^N \log \frac{p_\theta(x_{t-1} \mid x_t)}{q(x_t \mid x_{t-1})} \right] =: L(x_0).$$
#
# The mean of $L(x_0)$ over the data is the bound $L$. What Jensen loses is
# $\mathrm{KL}\big(q(x_1, \dots, x_N \mid x_0) \,\|\, p_\theta(x_1, \dots, x_N \mid x_0)\big)$: nothing, where the
# model's paths are the forward paths.
#
# ### 1.4 The bound, term by term
#
# In each fraction $q$ and $p_\theta$ look in opposite directions. Turn $q$ around by Bayes' rule. For $t \ge 2$, as
# the chain has no memory,
#
# $$q(x_t \mid x_{t-1}) = q(x_t \mid x_{t-1}, x_0) =
# q(x_{t-1} \mid x_t, x_0)\, \frac{q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)}.$$
#
# The logarithms of the last fractions telescope: their sum over $t = 2, \dots, N$ is
# $\log q(x_N \mid x_0) - \log q(x_1 \mid x_0)$, and the second part cancels against the $q(x_1 \mid x_0)$ of the
# fraction with $t = 1$. What is left are Kullback-Leibler divergences between Gaussians, and one log-density:
#
# $$L = \underbrace{\mathbb{E}\, \mathrm{KL}\big(q(x_N \mid x_0) \,\|\, p(x_N)\big)}_{L_N:\ \text{prior}} +
# \sum_{t=2}^N \underbrace{
# \mathbb{E}\, \mathrm{KL}\big(q(x_{t-1} \mid x_t, x_0) \,\|\, p_\theta(x_{t-1} \mid x_t)\big)
# }_{L_{t-1}:\ \text{transition}} +
# \underbrace{\mathbb{E}\big[-\log p_\theta(x_0 \mid x_1)\big]}_{L_0:\ \text{reconstruction}}.$$
#
# No parameter stands in $L_N$. Training cannot lower it.
#
# ### 1.5 The posterior $q(x_{t-1} \mid x_t, x_0)$
#
# Take $t \ge 2$. Seen as a function of $x_{t-1}$ it is the product of
# $\mathcal{N}(x_t; \sqrt{\alpha_t}\, x_{t-1}, \beta_t I)$ and
# $\mathcal{N}(x_{t-1}; \sqrt{\bar\alpha_{t-1}}\, x_0, (1 - \bar\alpha_{t-1}) I)$, so it is Gaussian. Precisions add:
#
# $$\frac{1}{\tilde\beta_t} = \frac{\alpha_t}{\beta_t} + \frac{1}{1 - \bar\alpha_{t-1}} =
# \frac{\alpha_t - \bar\alpha_t + \beta_t}{\beta_t (1 - \bar\alpha_{t-1})}
# \quad\Longrightarrow\quad
# \tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t,$$
#
# and the mean is the average weighted by precision,
#
# $$\tilde\mu_t(x_t, x_0) =
# \tilde\beta_t \left( \frac{\sqrt{\alpha_t}}{\beta_t}\, x_t +
# \frac{\sqrt{\bar\alpha_{t-1}}}{1 - \bar\alpha_{t-1}}\, x_0 \right) =
# \frac{\sqrt{\alpha_t}\, (1 - \bar\alpha_{t-1})\, x_t + \sqrt{\bar\alpha_{t-1}}\, \beta_t\, x_0}{1 - \bar\alpha_t}.$$
#
# ### 1.6 Why $\mu_\theta$ has the form it has
#
# Two Gaussians with variances $\tilde\beta_t$ and $\sigma_t^2$ in every direction have
#
# $$L_{t-1} = \mathbb{E}\, \frac{|\tilde\mu_t(x_t, x_0) - \mu_\theta(x_t, t)|^2}{2 \sigma_t^2} + C_t, \qquad
# C_t = \frac{d}{2} \left( \frac{\tilde\beta_t}{\sigma_t^2} - 1 + \ln \frac{\sigma_t^2}{\tilde\beta_t} \right),$$
#
# and $C_t$ has no $\theta$ in it. So $\mu_\theta$ has to guess $\tilde\mu_t$, without seeing $x_0$. But it does see
# $x_t$, and $x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \varepsilon) / \sqrt{\bar\alpha_t}$. Put this into $\tilde\mu_t$:
# the factor of $x_t$ is
# $[\alpha_t (1 - \bar\alpha_{t-1}) + \beta_t] / [\sqrt{\alpha_t}\, (1 - \bar\alpha_t)] = 1 / \sqrt{\alpha_t}$, and
#
# $$\tilde\mu_t =
# \frac{1}{\sqrt{\alpha_t}} \left( x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \varepsilon \right).$$
#
# The only thing in it that the model does not know is the noise $\varepsilon$. So let a network
# $\varepsilon_\theta(x_t, t)$ guess the noise, and leave the rest as it stands:
#
# $$\mu_\theta(x_t, t) =
# \frac{1}{\sqrt{\alpha_t}} \left( x_t -
# \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \varepsilon_\theta(x_t, t) \right).$$
#
# ### 1.7 From $L$ to $L_\text{simple}$
#
# In the difference of the two means $x_t$ cancels:
#
# $$L_{t-1} = C_t + w_t\, \mathbb{E}\, |\varepsilon - \varepsilon_\theta(x_t, t)|^2, \qquad
# w_t = \frac{\beta_t^2}{2 \sigma_t^2\, \alpha_t\, (1 - \bar\alpha_t)}.$$
#
# The reconstruction has the same shape. As $1 - \bar\alpha_1 = \beta_1$, the error of its mean is
# $x_0 - \mu_\theta(x_1, 1) = \sqrt{\beta_1 / \alpha_1}\, (\varepsilon_\theta - \varepsilon)$, so that
# $L_0 = \frac{d}{2} \ln(2 \pi \sigma_1^2) + w_1\, \mathbb{E}\, |\varepsilon - \varepsilon_\theta(x_1, 1)|^2$.
#
# Every term is a weighted regression on the noise. For each $t$ its best answer is
# $\varepsilon_\theta = \mathbb{E}[\varepsilon \mid x_t]$, whatever the weight $w_t > 0$. Ho et al. (2020) therefore
# set all weights to $1$ and draw $t$ at random:
#
# $$L_\text{simple} = \mathbb{E}_{t, x_0, \varepsilon}\,
# \big|\varepsilon_\theta(\sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon,\ t) - \varepsilon\big|^2,
# \qquad t \text{ uniform on } 1, \dots, N.$$
#
# A network of finite size cannot be best at every $t$. Against $L$, the simple loss gives less weight to small $t$,
# where the noise is faint, and more to large $t$, where the shape of the data is decided.
#
# ### 1.8 Training and sampling
#
# - **Train**: take a batch of $x_0$; draw $t$ and $\varepsilon$ for every point; form $x_t$; take a gradient step on
#   $|\varepsilon_\theta(x_t, t) - \varepsilon|^2$.
# - **Sample**: draw $x_N \sim \mathcal{N}(0, I)$; for $t = N, \dots, 1$ put
#   $x_{t-1} = \mu_\theta(x_t, t) + \sigma_t z$ with fresh standard normal $z$, and with $z = 0$ in the last step.
#   Here $\sigma_t^2 = \beta_t$.

# %% [markdown]
# ## 2. The data

# %%
moons, _ = make_moons(10_000, noise=0.05, random_state=10)
circles, _ = make_circles(10_000, noise=0.05, factor=0.5, random_state=10)
plot_points(moons, title="Two moons")

# %%
plot_points(circles, title="Circles")

# %% [markdown]
# ## 3. The parameters
#
# $N = 100$ steps, with $\beta_t$ rising linearly from $0.001$ to $0.02$. The last column is the weight $w_t$ of 1.7.

# %%
schedule = NoiseSchedule.linear(100, beta_min=0.001, beta_max=0.02)
N, beta, alpha, alpha_bar = schedule.n_steps, schedule.beta, schedule.alpha, schedule.alpha_bar
sigma = beta.sqrt()
weight = beta**2 / (2 * sigma**2 * alpha * (1 - alpha_bar))

print(f"N = {N}\n")
print(f"{'t':>3}  {'beta':>6}  {'alpha':>6}  {'alpha_bar':>9}  {'sigma':>6}  {'SNR':>8}  {'w':>6}")
for t in (1, 2, 10, 25, 50, 75, 100):
    print(f"{t:3d}  {beta[t]:6.4f}  {alpha[t]:6.4f}  {alpha_bar[t]:9.4f}", end="  ")
    print(f"{sigma[t]:6.4f}  {schedule.snr[t]:8.3f}  {weight[t]:6.4f}")

# %%
plot_schedule(schedule, sigma**2)

# %% [markdown]
# The forward chain, on the data. After 100 steps the moons cannot be seen any more. But the cloud has not come to
# rest in the middle; section 6 comes back to that.

# %%
x_0 = torch.from_numpy(moons)
eps = Stream(0).normal(0, len(x_0), 2)
times = (0, 10, 25, 50, 75, 100)
plot_chain([q_sample(x_0, t, eps, schedule) for t in times], captions=[f"t = {t}" for t in times])

# %% [markdown]
# Two claims of section 1 in numbers: a hundred steps one by one give the same distribution as one jump (1.1), and the
# mean of the posterior is the formula with $\varepsilon$ in it (1.6).

# %%
x_t = x_0
for t in range(1, N + 1):
    x_t = q_step(x_t, t, schedule).sample(Stream(1).child(t).normal(0, len(x_0), 2))
jump = q_sample(x_0, N, eps, schedule)
print("step by step: mean", x_t.mean(0).numpy().round(3), "variance", x_t.var(0).numpy().round(3))
print("in one jump:  mean", jump.mean(0).numpy().round(3), "variance", jump.var(0).numpy().round(3))

t = 40
x_t = q_sample(x_0, t, eps, schedule)
difference = q_posterior(x_t, x_0, t, schedule).mean - mu_from_eps(x_t, eps, t, schedule)
print(f"posterior mean against its form in eps: they differ by at most {difference.abs().max():.0e}")

# %% [markdown]
# ## 4. The network and its training
#
# $\varepsilon_\theta$ is a plain network: $(x_t, t/N)$ goes in, four hidden layers of 100 tanh units, $d$ numbers
# come out. Adam with rate $0.001$, batches of 1,000 points in a new order every epoch. `Diffusion.ddpm()` is exactly
# this.
#
# Before it trains, `fit` gives a warning. Section 6 is about it.

# %%
textbook = Diffusion.ddpm(n_epochs=N_EPOCHS, random_state=0).fit(moons)

# %%
for name, parameter in textbook.denoiser_.network.named_parameters():
    print(f"{name:<16} {tuple(parameter.shape[1:])}")
print(f"{sum(parameter.numel() for parameter in textbook.denoiser_.parameters()):,} numbers are learnt")

# %% [markdown]
# The loss of the first batch of every epoch. It falls fast and then stays: most of it cannot be avoided, as $x_t$
# does not tell which noise it contains.

# %%
history = textbook.history_
for epoch in range(0, N_EPOCHS, max(1, N_EPOCHS // 10)):
    print(f"epoch {epoch:5d}   L_simple {history.loss[epoch]:.4f}")

# %%
plot_loss(history.step, history.loss, loss_name="L_simple")

# %% [markdown]
# ## 5. Samples
#
# The walk back, from noise to moons, and the result beside the data.

# %%
states = {state.t: state.x_t for state in walk(textbook.model_, 0, 2_000, stream=Stream(2))}
plot_chain([states[t] for t in reversed(times)], captions=[f"t = {t}" for t in reversed(times)])

# %%
generated = textbook.sample(N_ROWS, random_state=1)
plot_side_by_side(moons, generated, titles=("Two moons", "Generated"))

# %% [markdown]
# Nothing in the method knows about moons. The same call on the circles:

# %%
round_textbook = Diffusion.ddpm(n_epochs=N_EPOCHS, random_state=0).fit(circles)
plot_side_by_side(circles, round_textbook.sample(N_ROWS, random_state=1), titles=("Circles", "Generated"))

# %% [markdown]
# ## 6. What these settings cost
#
# The pictures look right. Are they? Section 1.1 had an "if": $\bar\alpha_N$ should be close to 0. Here it is not.

# %%
print(f"alpha_bar_N = {alpha_bar[N]:.4f}, SNR = {schedule.snr[N]:.2f}")
plot_side_by_side(
    q_sample(x_0, N, eps, schedule),
    Stream(3).normal(0, len(x_0), 2),
    titles=("x_N, where the data end", "N(0, I), where sampling starts"),
)

# %% [markdown]
# $x_N$ still holds $\sqrt{0.3475} = 0.59$ times the point: the left cloud is off centre and a little too narrow.
# Sampling starts from the right one all the same, and no training mends that. How much does the bound lose? At least
# the divergence between two Gaussians, one with the mean and covariance of $x_N$, the other $\mathcal{N}(0, I)$. It is
# known before any training.

# %%
mean, covariance = x_0.mean(0), torch.cov(x_0.T, correction=0)
print(f"prior mismatch: at least {prior_mismatch(mean, covariance, schedule):.3f} nats per row")

# %% [markdown]
# Now the whole bound, term by term, on points that the fit has not seen. They are drawn from the true density, whose
# entropy is known: $\mathbb{E}[-\log p_\theta(x_0)]$ cannot be below it. (`make_moons` puts its angles on a grid, so
# for judging we draw from `backwalk.datasets`, where they are independent.)

# %%
density = two_moons(noise=0.05)
unseen = density.sample(N_ROWS, random_state=2)
log_p = density.log_prob(unseen)
terms = textbook.bound(unseen, random_state=3)
print(f"bound {terms.total:.3f} ± {terms.total_standard_error:.3f} nats, entropy {density.entropy:.3f}")
plot_bound(terms, entropy=density.entropy)

# %% [markdown]
# And the samples themselves, judged in two ways:
#
# - **C2ST**: how often a classifier tells generated points from real ones. Guessing is right half of the time.
# - **Sliced Wasserstein-1**: how far points have to be moved to turn one set into the other.
#
# For two honest samples of one density the distance is not 0, and the accuracy is 1/2 only on average, so each stands
# beside the same figure for real points against other real points, over several independent pairs.

# %%
pairs = disjoint_pairs(density.sample(2 * N_PAIRS * N_ROWS, random_state=4), N_PAIRS, stream=Stream(5))


def show_samples(name, rows):
    told = compare(lambda x, y: c2st(x, y, stream=Stream(6)), pairs, rows, name="C2ST")
    moved = compare(lambda x, y: sliced_wasserstein(x, y, stream=Stream(7)), pairs, rows, name="sliced W1")
    print(f"{name:<30} C2ST {told.value:.4f}, real pairs {told.null:.4f}, difference", end=" ")
    print(f"{told.difference:.4f} ± {told.difference_standard_error:.4f}")
    print(f"{'':<30} sliced W1 {moved.value:.4f}, real pairs {moved.null:.4f}, ratio {moved.value / moved.null:.1f}")


show_samples("textbook", textbook.sample(N_PAIRS * N_ROWS, random_state=5))

# %% [markdown]
# ## 7. Two ways out: the paper's schedule, and the library's defaults
#
# **Only the schedule.** The betas of the course end at 0.02, as those of Ho et al. do. But theirs are 1,000 steps,
# from 0.0001, and $\bar\alpha_N = 0.00004$. With a tenth of the steps the same betas do a tenth of the work. So give
# the same network, trained just as long, the schedule of the paper:

# %%
longer = NoiseSchedule.linear(1000, beta_min=1e-4, beta_max=0.02)
print(f"alpha_bar_N = {longer.alpha_bar[-1]:.5f}, prior mismatch {prior_mismatch(mean, covariance, longer):.5f} nats")
paper = Diffusion.ddpm(n_epochs=N_EPOCHS, random_state=0).set_params(schedule=longer).fit(moons)
show_samples("textbook, the paper's schedule", paper.sample(N_PAIRS * N_ROWS, random_state=5))

# %% [markdown]
# The points have come nearer to where they belong: the distance falls. C2ST need not fall with it, for it also sees
# the fine structure. That is the network's part, which now has ten times as many noise levels to learn in as many
# epochs. And a sample costs 1,000 evaluations of the network instead of 100.
#
# **Or leave every choice to the library.** `Diffusion()` takes a schedule that ends in noise for these data, scales
# the columns, trains a better network for a far shorter time, and spends 20 evaluations on a sample.

# %%
default = Diffusion(max_steps=MAX_STEPS, random_state=0).fit(moons)
print(default.schedule_, "prior mismatch", f"{default.model_.prior_mismatch:.0e} nats")
for name, model in (("textbook", textbook), ("paper's schedule", paper), ("default", default)):
    print(f"{name:<18} {model.history_.seconds:6.1f} s of training, {model.history_.n_steps:6,} steps")
show_samples("default", default.sample(N_PAIRS * N_ROWS, random_state=5))

# %%
plot_side_by_side(moons, default.sample(N_ROWS, random_state=1), titles=("Two moons", "Generated by Diffusion()"))

# %%
round_default = Diffusion(max_steps=MAX_STEPS, random_state=0).fit(circles)
plot_side_by_side(circles, round_default.sample(N_ROWS, random_state=1), titles=("Circles", "Generated by Diffusion()"))

# %% [markdown]
# Finally in nats, against the truth, as an excess over the entropy. The bound is about the chain. The
# probability-flow ODE is another model made of the same network, whose density can be computed to the solver's small
# error. One may improve while the other gets worse, and neither is always the smaller. The paper's schedule lowers
# the bound by about what the prior mismatch said. The last column is the total variation distance between the ODE's
# density and the truth: no event's probability is wrong by more.


# %%
def show_nats(name, model):
    chain = paired_gap(log_p, -model.bound(unseen, random_state=3).per_row.numpy())
    log_p_ode = model.score_samples(unseen)
    ode, distance = paired_gap(log_p, log_p_ode), total_variation(log_p, log_p_ode)
    print(f"{name:<18} bound {chain.value:7.4f} ± {chain.standard_error:.4f}", end="   ")
    print(f"ODE {ode.value:.4f} ± {ode.standard_error:.4f}   distance {distance.value:.4f}")


show_nats("textbook", textbook)
show_nats("paper's schedule", paper)
show_nats("default", default)

# %% [markdown]
# The same as a picture, with the default network's bound for four choices of the reverse variance as well, each on
# the 50 of its 1,000 steps that are best for the best scalar: the paper's two scalars $\beta$ and $\tilde\beta$,
# the best scalar (fitted on rows that were kept apart), and the full covariance that the network's Jacobian gives.
# First $-\log p$ or its bound beside the entropy, then, with the sampling error of the rows themselves taken out, the
# excess over the truth.

# %%
costs = {}
for name, model in (("textbook", textbook), ("paper's schedule", paper), ("default", default)):
    costs[f"{name}: ODE"] = -model.score_samples(unseen)
    costs[f"{name}: chain"] = model.bound(unseen, random_state=3).per_row.numpy()
n_few = min(50, default.schedule_.n_steps)
for kind in ("beta", "beta_tilde", "optimal", "full"):
    by_row = default.bound(unseen, reverse_variance=kind, steps=n_few, random_state=3).per_row
    costs[f"default, {n_few} steps: {kind}"] = by_row.numpy()


def points(estimates):
    return [(estimate.value, estimate.standard_error) for estimate in estimates]


plot_nats(
    list(costs),
    points(mean_estimate(cost) for cost in costs.values()),
    truth=(density.entropy, density.entropy_standard_error),
)

# %%
plot_nats(
    list(costs),
    points(paired_gap(log_p, -cost) for cost in costs.values()),
    truth=(0.0, 0.0),
    truth_name="the truth",
    title="Gap to the truth, row by row",
)

# %% [markdown]
# One more line, for honesty. In the plane, on data as simple as these, a mixture of twenty Gaussians is hard to beat,
# and it is fitted in a moment. Diffusion earns its place where there are more dimensions and more curvature.

# %%
mixture = GaussianMixture(20, random_state=0).fit(moons)
gap = paired_gap(log_p, mixture.score_samples(unseen))
show_samples("GaussianMixture(20)", np.random.default_rng(0).permutation(mixture.sample(N_PAIRS * N_ROWS)[0]))
print(f"{'':<30} excess over the entropy {gap.value:.4f} ± {gap.standard_error:.4f} nats")
