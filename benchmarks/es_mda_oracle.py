"""One step of ES-MDA compared with the library iterative-ensemble-smoother (GPL-3): the figure of docs/calibration.md.

Its licence does not go with that of ldas, so it belongs in an environment of its own, where ldas is installed too:

    pip install iterative-ensemble-smoother==1.2.0 && python benchmarks/es_mda_oracle.py
"""

import numpy as np
from iterative_ensemble_smoother import ESMDA

from ldas.assim.es_mda import es_mda_step

MEMBERS, PARAMETERS, OBSERVATIONS, INFLATION = 60, 5, 400, 4.0


def main() -> None:
    """A model that is not linear, the same perturbations for both, no truncation of singular values."""
    random = np.random.default_rng(1)
    parameters = random.standard_normal((MEMBERS, PARAMETERS))
    predicted = np.sin(parameters @ random.standard_normal((PARAMETERS, OBSERVATIONS)))
    observed = np.sin(random.standard_normal(OBSERVATIONS))
    error = random.uniform(0.5, 2.0, OBSERVATIONS)
    noise = random.standard_normal((MEMBERS, OBSERVATIONS))
    ours = es_mda_step(parameters, predicted, observed, error, INFLATION, noise)

    library = ESMDA(covariance=error**2, observations=observed, alpha=np.full(int(INFLATION), INFLATION), seed=1)
    unscaled = (error * noise).T
    library.prepare_assimilation(Y=predicted.T.copy(), truncation=1.0, observation_perturbations=unscaled)
    theirs = library.assimilate_batch(X=parameters.T.copy()).T
    print(f"largest change of a parameter {np.abs(ours - parameters).max():.2g}")
    print(f"largest difference from the library {np.abs(ours - theirs).max():.1g}")


if __name__ == "__main__":
    main()
