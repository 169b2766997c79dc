"""Multi-stage training: pipelines of ordinary runs, and data sets of sampled traces."""
