"""Environment variables of the processes of experiments: an allow-list, as in ssh and sudo. Pure.

A worker's environment holds credentials of its services under arbitrary names. So an experiment gets what programs need
to find their files, libraries, devices and proxies, and what settings add.
"""

from __future__ import annotations

from collections.abc import Collection

from experiments.variables import is_named


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = frozenset(
    _words("""
    PATH HOME USER LOGNAME SHELL PWD HOSTNAME TERM COLORTERM NO_COLOR FORCE_COLOR COLUMNS LINES EDITOR DISPLAY
    LANG LANGUAGE TZ TZDIR TMPDIR TMP TEMP
    VIRTUAL_ENV DJANGO_SETTINGS_MODULE
    LD_LIBRARY_PATH LD_PRELOAD LIBRARY_PATH CPATH PKG_CONFIG_PATH CC CXX CFLAGS CXXFLAGS LDFLAGS
    MAX_JOBS JAVA_HOME SPARK_HOME HADOOP_HOME R_HOME JULIA_DEPOT_PATH
    MODULEPATH MODULESHOME LOADEDMODULES _LMFILES_
    HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy ftp_proxy all_proxy no_proxy
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS
    MASTER_ADDR MASTER_PORT WORLD_SIZE RANK LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK NODE_RANK
    GPU_DEVICE_ORDINAL ROCM_PATH HF_TOKEN WANDB_API_KEY
    """)
)
"""Exact names. HF_TOKEN and WANDB_API_KEY belong to experiments: only trainings read them."""

PREFIXES = _words("""
    LC_ XDG_ PYTHON CONDA_ MAMBA_ LMOD_ DYLD_ MALLOC_ GLIBC_ MPL SLURM_ PBS_
    CUDA_ CUDNN_ CUBLAS_ NVIDIA_ NVTE_ NCCL_ ROCR_ HIP_ HSA_ AMD_ MIOPEN_ ZE_ SYCL_ ONEAPI_ HABANA_ NEURON_ TPU_
    OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ GOTO_ BLIS_ NUMEXPR_ VECLIB_ TBB_ RAYON_ POLARS_
    OMPI_ PMIX_ PMI_ I_MPI_ MPICH_ UCX_ FI_ GLOO_ HOROVOD_ RAY_ DASK_
    TORCH PYTORCH_ TRITON_ JAX_ XLA_ KERAS_ TF_CPP_ TF_CUDNN_ TF_DETERMINISTIC_ TF_ENABLE_ TF_FORCE_ TF_GPU_ TF_NUM_
    TF_USE_ TF_XLA_ ACCELERATE_ DEEPSPEED_ VLLM_ LIGHTNING_
    HF_ HUGGINGFACE_ TRANSFORMERS_ TOKENIZERS_ DATASETS_ DIFFUSERS_ SENTENCE_TRANSFORMERS_ WANDB_ TENSORBOARD_
""")
"""Prefixes of names, except names whose words indicate a credential."""

OWN_NAMES = frozenset(
    _words("""
    ATHANOR_APPS ATHANOR_EXPERIMENT_PATHS ATHANOR_LOG_LEVEL ATHANOR_PRODUCTION ATHANOR_TIME_ZONE ATHANOR_UMASK
    ATHANOR_VAR
    """)
)
OWN_PREFIXES = ("ATHANOR_RUNS_", "ATHANOR_EXPERIMENTS_")

_CREDENTIAL_WORDS = frozenset(
    _words("AUTH CREDENTIAL CREDENTIALS DSN JWT KEY PASS PASSWD PASSWORD SECRET TOKEN URI URL")
)
_NEVER = frozenset(
    _words("""
    CELERY_BROKER_READ_URL CELERY_BROKER_URL CELERY_BROKER_WRITE_URL CELERY_RESULT_BACKEND DJANGO_SUPERUSER_PASSWORD
    """)
)


def is_credential(name: str) -> bool:
    """Return whether the words of a name indicate a credential."""
    return not _CREDENTIAL_WORDS.isdisjoint(name.upper().split("_"))


def is_secret(name: str) -> bool:
    """Return True for a credential of Athanor, which no setting passes on."""
    return name in _NEVER or (name.startswith("ATHANOR_") and is_credential(name))


def is_passed_on(name: str, added: Collection[str] = ()) -> bool:
    """Return whether an experiment gets a variable. `added`: further names, and prefixes with a `*` at the end."""
    if is_secret(name):
        return False
    if name in NAMES or name in OWN_NAMES or is_named(name, added):
        return True
    return name.startswith(OWN_PREFIXES) or (name.startswith(PREFIXES) and not is_credential(name))
