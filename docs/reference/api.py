"""The public names of backwalk, package by package and topic by topic. All other names can change at any time.

The pages of the reference, the tests of docstrings and the check of types read this list. Each object has one home.
"""

PUBLIC: dict[str, dict[str, tuple[str, ...]]] = {
    "backwalk": {
        "Estimators": ("Diffusion", "DiffusionImputer", "multiple_imputations", "pooled"),
        "Inference": ("posterior",),
        "Columns and files": ("Levels", "Number", "TextPath"),
        "Choices": ("NoiseSchedule", "Textbook", "Residual", "Training", "Sampler", "FCEmbedding", "CNNEmbedding"),
        "Errors": (
            "BackwalkError",
            "InvalidInput",
            "TableFileError",
            "ModelFileError",
            "TrainingDiverged",
            "SamplingDiverged",
        ),
        "Warnings": (
            "ColumnsSetAsideWarning",
            "DegenerateRowsWarning",
            "DoubtfulCellsWarning",
            "ImpossibleRowsWarning",
            "LeftOutRuleWarning",
            "PriorMismatchWarning",
            "RepeatedValueWarning",
            "ShortTrainingWarning",
            "UnseenValuesWarning",
        ),
    },
    "backwalk.estimator": {
        "Imputation": ("Pooled",),
    },
    "backwalk.model": {
        "Fitted models": ("DiffusionModel", "Conditional", "WalkState"),
        "Functions of a model": ("sample_rows", "walk", "log_density", "bound"),
    },
    "backwalk.fit": {
        "Progress": ("FitProgress",),
        "Models around a denoiser of your own": ("oracle_model",),
    },
    "backwalk.inference": {
        "Posteriors": ("ObservationCheck", "Posterior"),
    },
    "backwalk.table": {
        "Rules between columns": ("Order", "Total", "Computed", "Determines", "Copy"),
    },
    "backwalk.engines": {
        "Samples on many machines": ("ray_dataset", "dask_dataframe"),
    },
    "backwalk.diffusion": {
        "Schedules": ("evenly_spaced",),
        "The forward process": ("Gaussian", "q_step", "q_marginal", "q_sample", "q_sample_at", "q_posterior"),
        "What a network predicts": (
            "Denoiser",
            "denoise_at_time",
            "x_0_from_eps",
            "x_0_from_v",
            "eps_from_x_0",
            "eps_from_v",
            "v_from_x_0",
            "v_from_eps",
            "score_from_eps",
            "score_from_x_0",
        ),
        "The reverse process": (
            "p_transition",
            "mu_from_eps",
            "mu_from_x_0",
            "beta_variance",
            "beta_tilde_variance",
            "optimal_variance",
        ),
        "Losses and the bound": (
            "simple_loss",
            "simple_loss_at",
            "denoising_error",
            "variational_bound",
            "BoundTerms",
            "merge_terms",
            "prior_term",
            "prior_mismatch",
            "moments",
        ),
        "The probability-flow ODE": ("integrate_ode", "log_density", "LogDensity"),
        "Exact answers": ("GaussianDenoiser", "GaussianMixtureDenoiser"),
        "Conditionals and marginals": ("ConditionalDenoiser", "log_snr_by_coordinate"),
    },
    "backwalk.training": {
        "Training": ("History",),
    },
    "backwalk.sampling": {
        "The chain": ("walk_back", "ChainState"),
        "Solvers": (
            "Solver",
            "SOLVERS",
            "Visit",
            "Ancestral",
            "Ddim",
            "Multistep",
            "StochasticMultistep",
            "mean_weights",
            "spread_times",
        ),
    },
    "backwalk.datasets": {
        "Densities": (
            "Density",
            "DENSITIES",
            "two_moons",
            "circles",
            "rings",
            "spirals",
            "checkerboard",
            "pinwheel",
            "gaussian_mixture",
            "around_points",
            "warped_mixture",
            "funnel",
            "curved_chain",
            "rotated_chain",
        ),
        "Tables": ("penguins",),
    },
    "backwalk.assess": {
        "Assessments": ("assess", "Fidelity", "Calibration", "ModelScores"),
        "Baselines": ("fit_baseline",),
    },
    "backwalk.assess.statistics": {
        "Figures": ("Estimate", "Figure", "compare"),
        "Pairs of real sets": ("RealPairs", "disjoint_pairs", "resampled_pairs"),
        "Statistics of two sets": ("c2st", "boosting", "neighbours", "sliced_wasserstein"),
    },
    "backwalk.streams": {
        "Random numbers": ("Stream", "as_stream"),
    },
    "backwalk.course": {
        "Lessons": ("LESSONS", "write_lessons", "draw_moons", "moon_centres", "moons_log_density", "best_eps"),
        "Exercises": ("EXERCISES", "check", "Checked", "train_network"),
    },
}
