"""deploy/kubernetes/: the schema of Kubernetes, and that the manifests agree with each other and with the gateway."""

from dataclasses import fields
from typing import Any

import kubernetes_validate
import pytest
import yaml

from config import PROJECT_DIR, Config, ConfigError

FOLDER = PROJECT_DIR / "deploy" / "kubernetes"
VERSIONS = ("1.29", "1.37")
"""The oldest and the newest version of Kubernetes against whose schema the manifests are checked."""

MANIFESTS: list[dict[str, Any]] = [
    manifest for path in sorted(FOLDER.glob("*.yaml")) for manifest in yaml.safe_load_all(path.read_text())
]
BY_NAME = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in MANIFESTS}
DEPLOYMENT = BY_NAME["Deployment", "route-api"]["spec"]
JOB = BY_NAME["Job", "route-api-migrations"]["spec"]
SETTINGS: dict[str, str] = BY_NAME["ConfigMap", "route-api"]["data"]
SECRETS: dict[str, str] = BY_NAME["Secret", "route-api"]["stringData"]
(GATEWAY,) = DEPLOYMENT["template"]["spec"]["containers"]
(MIGRATIONS,) = JOB["template"]["spec"]["containers"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda manifest: f"{manifest['kind']} {manifest['metadata']['name']}"
)
def test_each_manifest_has_the_form_that_kubernetes_asks_for(manifest: dict[str, Any], version: str) -> None:
    assert kubernetes_validate.validate(manifest, version, strict=True) == version


def load(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> Config:
    """The settings that a container with this environment has. The override keeps a developer's `.env` out."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return Config.load(PORT=GATEWAY["ports"][0]["containerPort"])


def test_the_settings_are_the_gateways_and_those_that_are_secret_are_in_the_secret_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {entry.name for entry in fields(Config)}
    secret = {entry.name for entry in fields(Config) if entry.metadata["secret"]}
    assert set(SETTINGS) <= names - secret and set(SECRETS) <= names
    assert load(monkeypatch, SETTINGS).PROXIES == 1


def test_a_gateway_does_not_start_with_the_secrets_of_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(monkeypatch, {**SETTINGS, **SECRETS})
    assert {line.split()[0] for line in str(wrong.value).splitlines()} >= {"DATABASE_URL", "API_KEYS", "SECRET_KEY"}


def test_gateway_and_migrations_run_the_same_image_with_the_same_settings() -> None:
    sources = [{"configMapRef": {"name": "route-api"}}, {"secretRef": {"name": "route-api"}}]
    assert GATEWAY["envFrom"] == MIGRATIONS["envFrom"] == sources
    assert GATEWAY["image"] == MIGRATIONS["image"]
    pods = (DEPLOYMENT["template"]["spec"], JOB["template"]["spec"])
    assert [pod["enableServiceLinks"] for pod in pods] == [False, False]
    assert GATEWAY["securityContext"] == MIGRATIONS["securityContext"]


def test_the_pod_runs_as_the_user_of_the_image_and_may_write_where_the_gateway_writes() -> None:
    image = (PROJECT_DIR / "deploy" / "Containerfile").read_text()
    assert f"USER {DEPLOYMENT['template']['spec']['securityContext']['runAsUser']}\n" in image
    mounts = {mount["mountPath"]: mount["name"] for mount in GATEWAY["volumeMounts"]}
    assert mounts == {"/srv/route-api/var": "files", "/var/tmp": "temporary", "/tmp": "temporary"}
    volumes = {volume["name"]: volume for volume in DEPLOYMENT["template"]["spec"]["volumes"]}
    claim = volumes["files"]["persistentVolumeClaim"]["claimName"]
    assert BY_NAME["PersistentVolumeClaim", claim]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_two_gateways_of_which_one_stays_and_running_answers_can_end() -> None:
    assert DEPLOYMENT["replicas"] == 2
    budget = BY_NAME["PodDisruptionBudget", "route-api"]["spec"]
    assert budget["minAvailable"] == 1 and budget["selector"] == DEPLOYMENT["selector"]
    waits = int(GATEWAY["lifecycle"]["preStop"]["exec"]["command"][1])
    assert DEPLOYMENT["template"]["spec"]["terminationGracePeriodSeconds"] > waits + int(SETTINGS["STOP_GRACE"])


def test_the_services_and_the_ingress_lead_to_the_gateways() -> None:
    labels, ports = DEPLOYMENT["template"]["metadata"]["labels"], {port["name"] for port in GATEWAY["ports"]}
    for name in ("route-api", "route-api-each"):
        service = BY_NAME["Service", name]["spec"]
        assert service["selector"].items() <= labels.items()
        assert {port["targetPort"] for port in service["ports"]} <= ports
    assert (
        not BY_NAME["Service", "route-api"]["spec"]["selector"].items() <= JOB["template"]["metadata"]["labels"].items()
    )
    (rule,) = BY_NAME["Ingress", "route-api"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"] == {"service": {"name": "route-api", "port": {"name": "http"}}}


def test_the_probes_ask_paths_that_anybody_may_ask() -> None:
    paths = {name: GATEWAY[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert paths == {
        "startup": {"path": "/readyz", "port": "http"},
        "readiness": {"path": "/healthz", "port": "http"},
        "liveness": {"path": "/healthz", "port": "http"},
    }


def test_the_ingress_waits_longer_than_the_gateway_and_takes_bodies_as_large() -> None:
    given = BY_NAME["Ingress", "route-api"]["metadata"]["annotations"]
    defaults = Config(AUTH="open")
    for controller, size in (
        ("nginx.ingress.kubernetes.io", "proxy-body-size"),
        ("nginx.org", "client-max-body-size"),
    ):
        assert int(given[f"{controller}/proxy-read-timeout"].rstrip("s")) > defaults.DIFY_CHAT_TIMEOUT
        assert int(given[f"{controller}/proxy-send-timeout"].rstrip("s")) > defaults.DIFY_UPLOAD_TIMEOUT
        assert given[f"{controller}/{size}"] == f"{defaults.MAX_UPLOAD_MB}m"
        assert given[f"{controller}/proxy-buffering"].lower() in ("off", "false")
