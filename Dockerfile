# For an NVIDIA GPU, driver 580 or newer. Weights go through shared memory, of which Docker gives 64 MB:
#   docker build -t ahazero .
#   docker run --gpus all --shm-size 16g -it -v ahazero-outputs:/home/aha/ahazero/outputs \
#     -v ahazero-hub:/home/aha/.cache/huggingface ahazero make train ARGS="experiment=tinyzero_countdown_1.5b"
# The wheel of torch brings CUDA 13.0 along; the image has the driver's side of it, and tells the container runtime so.
FROM nvidia/cuda:13.0.2-base-ubuntu24.04

# A compiler and Python's headers: Triton builds its launchers on the spot.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential ca-certificates git python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home aha
# hadolint ignore=DL3066
USER aha
WORKDIR /home/aha/ahazero

# The environment is a layer of its own, made again only where the lock changes. No GPU is seen while it is built.
COPY --chown=aha Makefile requirements.txt ./
RUN make setup HAS_GPU=1 && rm -rf /home/aha/.cache

COPY --chown=aha . .
# What is mounted here should belong to the user.
RUN mkdir -p outputs /home/aha/.cache/huggingface

CMD ["make", "doctor"]
