"""Variables of the worker that an experiment gets."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from experiments.conf import ExperimentsSettings, load
from runs.conf import RunsSettings
from runs.forkserver.environment import for_children, leave_to_programs, settings_module
from runs.forkserver.variables import is_passed_on

pytestmark = pytest.mark.any_database


def words(text: str) -> list[str]:
    return text.split()


PASSED_ON = words("""
    PATH HOME USER LANG LC_ALL LC_NUMERIC TZ TMPDIR VIRTUAL_ENV PYTHONPATH PYTHONHASHSEED LD_LIBRARY_PATH
    DJANGO_SETTINGS_MODULE CONDA_PREFIX CONDA_DEFAULT_ENV MODULEPATH LOADEDMODULES LMOD_CMD SLURM_JOB_ID
    SLURM_PROCID XDG_CACHE_HOME CUDA_VISIBLE_DEVICES CUDA_HOME NVIDIA_VISIBLE_DEVICES NCCL_DEBUG NCCL_SOCKET_IFNAME
    ROCR_VISIBLE_DEVICES OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS KMP_AFFINITY OMPI_COMM_WORLD_RANK
    UCX_TLS TORCH_HOME TORCHINDUCTOR_CACHE_DIR PYTORCH_CUDA_ALLOC_CONF JAX_PLATFORMS XLA_FLAGS TF_CPP_MIN_LOG_LEVEL
    HF_HOME HF_TOKEN HF_HUB_OFFLINE TRANSFORMERS_CACHE TOKENIZERS_PARALLELISM WANDB_API_KEY WANDB_MODE WANDB_PROJECT
    HTTPS_PROXY https_proxy NO_PROXY SSL_CERT_FILE REQUESTS_CA_BUNDLE MPLBACKEND MPLCONFIGDIR MASTER_ADDR WORLD_SIZE
    ATHANOR_VAR ATHANOR_EXPERIMENT_PATHS ATHANOR_APPS ATHANOR_RUNS_LEASE_S ATHANOR_EXPERIMENTS_VARIABLES
    ATHANOR_UMASK ATHANOR_PRODUCTION
""")
WITHHELD = words("""
    POSTGRES_PASSWORD PGPASSWORD PGPASSFILE DATABASE_URL SECRET_KEY DJANGO_SECRET_KEY MYSQL_ROOT_PASSWORD REDIS_URL
    REDISCLI_AUTH AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN GOOGLE_APPLICATION_CREDENTIALS
    AZURE_CLIENT_SECRET OPENAI_API_KEY ANTHROPIC_API_KEY GITHUB_TOKEN GH_TOKEN CI_JOB_TOKEN SENTRY_DSN SMTP_PASSWORD
    SSH_AUTH_SOCK SLURM_JWT TF_VAR_db_password MLFLOW_TRACKING_PASSWORD PIP_INDEX_URL UV_INDEX_LAB_PASSWORD
    NOMAD_TOKEN VAULT_TOKEN HF_HUB_UPLOAD_SECRET RAY_AUTH_TOKEN KUBECONFIG DOCKER_AUTH_CONFIG XDG_SECRET
    SUDO_COMMAND MAIL A_SERVICE ATHANOR_READY_FILE ATHANOR_ALLOWED_HOSTS ATHANOR_ATTEMPT ATHANOR_DATABASE_URL
""")
NEVER = words("""
    ATHANOR_SECRET_KEY ATHANOR_SECRETS_KEY ATHANOR_DATABASE_URL ATHANOR_REDIS_URL ATHANOR_API_TOKEN
    ATHANOR_RUNS_LINES_KEY CELERY_BROKER_URL DJANGO_SUPERUSER_PASSWORD
""")


@pytest.mark.parametrize("name", PASSED_ON)
def test_experiments_get_what_programs_need(name: str) -> None:
    assert is_passed_on(name)


@pytest.mark.parametrize("name", WITHHELD + NEVER)
def test_everything_else_is_withheld(name: str) -> None:
    assert not is_passed_on(name)


@pytest.mark.parametrize(
    ("name", "added", "expected"),
    [
        ("OPENAI_API_KEY", ["OPENAI_API_KEY"], True),
        ("OPENAI_API_KEY_2", ["OPENAI_API_KEY"], False),
        ("LAB_TOKEN", ["OTHER", "LAB_*"], True),
        ("LABEL", ["LAB_*"], False),
        *[(name, [name, "ATHANOR_*", "CELERY_*", "DJANGO_*"], False) for name in NEVER],
    ],
)
def test_settings_add_names_and_prefixes_but_none_of_our_credentials(
    name: str, added: list[str], expected: bool
) -> None:
    assert is_passed_on(name, added) == expected


def test_the_environment_says_that_it_is_that_of_an_experiment() -> None:
    environ = {"PATH": "/bin", "ATHANOR_SECRET_KEY": "x", "ATHANOR_ATTEMPT": "1.1", "ATHANOR_ROLE": "worker"}

    assert for_children(environ) == {"PATH": "/bin", "ATHANOR_ROLE": "child"}


@pytest.mark.parametrize(
    ("text", "names"), [("", ()), ("OPENAI_API_KEY, LAB_*,", ("OPENAI_API_KEY", "LAB_*")), (("A", "B_*"), ("A", "B_*"))]
)
def test_names_in_settings(text: Any, names: tuple[str, ...]) -> None:
    for cls in (RunsSettings, ExperimentsSettings):
        assert load(cls, "P", {"variables": text}, {}).variables == names  # type: ignore[attr-defined]  # both have it


@pytest.mark.parametrize("text", ["*", "A B", "*_KEY", "A,1B", "A=1"])
def test_other_patterns_are_refused(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"P: variables: .* neither the name of a variable nor a prefix"):
        load(RunsSettings, "P", {"variables": text}, {})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"PYTHONPATH": "/imports"}),
        ({"PYTHONPATH": "/athanor"}, {"PYTHONPATH": "/imports"}),
        ({"PYTHONPATH": "/mine:/athanor:/imports:"}, {"PYTHONPATH": "/mine:/imports"}),
        ({"DJANGO_SETTINGS_MODULE": "x"}, {"PYTHONPATH": "/imports", "ATHANOR_SETTINGS_MODULE": "x"}),
    ],
)
def test_programs_get_only_what_they_need(before: dict[str, str], after: dict[str, str]) -> None:
    environ = dict(before)
    leave_to_programs(environ, project="/athanor", imports="/imports")

    assert environ == after


@pytest.mark.parametrize("own", [{}, {"DJANGO_SETTINGS_MODULE": "mine"}])
def test_the_settings_module_is_there_for_a_moment(own: dict[str, str]) -> None:
    environ = {"ATHANOR_SETTINGS_MODULE": "athanors", **own}
    with settings_module(environ):
        assert environ["DJANGO_SETTINGS_MODULE"] == "athanors"

    assert environ == {"ATHANOR_SETTINGS_MODULE": "athanors", **own}
