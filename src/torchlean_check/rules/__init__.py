"""One file per family of nonlinear ops; the verdict lists those that a check used."""
