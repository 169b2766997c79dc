"""Requirements of a made-up run, for the checks that compare them with a machine."""

from tools.doctor.facts import Requirements

NEEDED = Requirements(
    weights=5.7,
    training_state=46.0,
    training=60.0,
    generating=55.0,
    usable=76.0,
    vllm=(9.6,),
    problem=None,
    host=27.8,
    shared_memory=11.5,
    checkpoints=120.7,
)
