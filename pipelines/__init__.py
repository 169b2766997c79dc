"""Multi-stage training: pipelines of ordinary runs, and datasets of sampled traces."""
