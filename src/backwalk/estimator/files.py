"""The methods of an estimator that write its model to a file and read it again."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from backwalk import model_file
from backwalk.denoiser import EnsembleDenoiser
from backwalk.errors import ModelFileError
from backwalk.estimator.fitted import Fitted, RowsT
from backwalk.fit import check_settings, choose_device, parameters_from
from backwalk.formatting import one_line


class Files(Fitted[RowsT], BaseEstimator):  # type: ignore[misc]
    """Writes and reads the fitted model."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the fitted model to disk.

        Parameters
        ----------
        path : str or Path
            The name of the file, such as `moons.backwalk`. It is a safetensors file; missing folders are made.
        overwrite : bool, default=False
            Whether to replace an existing file.

        Raises
        ------
        ModelFileError
            The file exists and `overwrite` is False, or it cannot be written. What was there is unchanged.

        See Also
        --------
        Diffusion.load : Reads the file.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(Path(folder) / "normal.backwalk")
        ...     again = Diffusion.load(Path(folder) / "normal.backwalk")
        >>> bool((again.sample(5, random_state=1) == model.sample(5, random_state=1)).all())
        True
        """
        check_is_fitted(self)
        model_file.save(self.model_, path, overwrite=overwrite)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        denoiser: nn.Module | None = None,
        embedding: nn.Module | None = None,
    ) -> Self:
        """Return the model that `save` wrote. No code in the file is run.

        The parameters are those of the fit, except `callbacks` and `device`. A `random_state` that was not an integer
        is None (`model_.card["seed"]` has the seed), and the name of a solver is a `Sampler`.

        Parameters
        ----------
        path : str or Path
            The name of the file.
        device : str, default="auto"
            Where networks run: see `Diffusion`.
        denoiser : torch.nn.Module, default=None
            For a model with your own network, whose code the file does not hold: an instance of the same class. The
            weights are loaded into a copy of it.
        embedding : torch.nn.Module, default=None
            The same for a model with your own embedding.

        Returns
        -------
        Diffusion
            The fitted estimator.

        Raises
        ------
        ModelFileError
            There is no model, or it is incomplete, altered, or has another network.

        See Also
        --------
        Diffusion.save : Writes the file.

        Examples
        --------
        >>> from backwalk import Diffusion
        >>> model = Diffusion.load("moons.backwalk")  # doctest: +SKIP
        """
        place = choose_device(device)
        model = model_file.load(path, denoiser, embedding)
        estimator, modules = cls(device=device), {"denoiser": denoiser, "embedding": embedding}
        try:
            estimator.set_params(**parameters_from(model.card["parameters"], model.schedule, modules))
            check_settings(estimator.get_params(deep=False))
            estimator._adopt(model)
        except (KeyError, AttributeError, TypeError, ValueError, ArithmeticError) as error:
            raise ModelFileError(
                f"{path} cannot be read: in its card, parameters or training: {one_line(error)}."
            ) from error
        assert isinstance(model.denoiser, EnsembleDenoiser)  # no file holds another
        model.denoiser.to(place)
        return estimator
