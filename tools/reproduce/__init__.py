"""`make reproduce`: the claims of conf/claims/ as experiments with a verdict."""
