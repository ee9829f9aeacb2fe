"""The metrics, and that the alerts and the dashboard in ops/ speak of metrics and labels that there are."""
import json
import pathlib
import re

import pytest
import yaml

from lockset_dev import ROOT, Dev, http_call, wait_for
from sources_rig import Bucket, integrate, source

QUICK = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms"}
NAME = re.compile(r"\blockset_[a-z0-9_]+")


@pytest.fixture(scope="module")
def exposed():
    """Metric -> set of label names, from a deployment in which everything has happened that has a metric."""
    with Dev(QUICK) as dev, Bucket() as bucket:
        org = dev.create_org()
        bucket.lines("in/a.json", [{"n": 1}])
        integrate(org, bucket)
        assert org.call("POST", "/ws/commons/collections", {"name": "c", "sources": [source("in/")]}).status == 200
        wait_for(lambda: org.count("c") == 1, 30)
        gone = dev.create_org()
        gone.disable_key()
        gone.wait_state("UNAVAILABLE", 20)
        def settled():  # the processes' end is told a moment after the state, a preflight is due soon
            text = (got := http_call(dev.api, "GET", "/metrics")).body.decode()
            return "lockset_purges_total 1" in text and f'org="{gone.id}",operation="DescribeKey",cause="preflight"' in text and got
        answer = wait_for(settled, 30, what="what the end of a lease leaves in the metrics")
        yield answer.headers["Content-Type"], answer.body.decode(), gone


def parse(text):
    metrics, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"{name} is declared twice"
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'([a-z0-9_]+)(\{(.*)\})? (-?[0-9.e+]+)', line)
            assert match, line
            labels = re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', match.group(3) or "")
            metrics.setdefault(match.group(1), set()).update(name for name, _ in labels)
    assert set(metrics) <= set(types), set(metrics) - set(types)
    return metrics


def test_the_text_is_well_formed(exposed):
    kind, text, gone = exposed
    assert kind.startswith("text/plain; version=0.0.4")
    metrics = parse(text)
    assert {"lockset_organizations", "lockset_key_trouble", "lockset_lease_left_seconds",
            "lockset_kms_calls_total", "lockset_key_calls_total", "lockset_key_calls_capped", "lockset_branch_key_age_seconds",
            "lockset_lease_age_seconds", "lockset_lease_expires_seconds", "lockset_leases_granted_total",
            "lockset_leases_ended_total", "lockset_recoveries_total", "lockset_purges_total",
            "lockset_streams_cut_total"} <= set(metrics)

    def number(name):
        return int(re.search(rf"^{name} ([0-9]+)", text, re.M).group(1))
    assert number("lockset_leases_granted_total") == 2 and number("lockset_leases_ended_total") == 1
    assert number("lockset_purges_total") == 1 and number("lockset_recoveries_total") == 0
    assert f'lockset_lease_age_seconds{{org="{gone.id}"}} 0' in text and f'lockset_lease_expires_seconds{{org="{gone.id}"}} 0' in text
    assert re.search(rf'lockset_key_calls_total{{org="{gone.id}",operation="DescribeKey",cause="preflight"}} [0-9]+', text)
    assert f'lockset_key_trouble{{org="{gone.id}",state="UNAVAILABLE",cause="DENIED",aws_error="DisabledException"}}' in text
    left = float(re.search(r"^lockset_lease_left_seconds ([0-9.]+)", text, re.M).group(1))
    assert 60 < left <= 120


def expressions():
    rules = yaml.safe_load((ROOT / "ops/prometheus-rules.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("info", "ticket", "page")
            yield rule["alert"], rule["expr"], json.dumps(rule["annotations"])
    board = json.loads((ROOT / "ops/grafana-dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target.get("legendFormat", "")


@pytest.mark.parametrize("name,expression,texts", list(expressions()))
def test_alerts_and_dashboard_name_what_there_is(exposed, name, expression, texts):
    metrics = parse(exposed[1])
    used = NAME.findall(expression)
    assert used
    for metric in used:
        assert metric in metrics, f"{name}: there is no metric {metric}"
    allowed = set().union(*(metrics[m] for m in used)) | {"instance", "job"}
    for label in re.findall(r"([a-z_]+)\s*(?:=~|!=|=)\s*\"", expression):
        assert label in allowed, f"{name}: no label {label}"
    for label in re.findall(r"\$labels\.([a-z_]+)", texts) + re.findall(r"\{\{([a-z_]+)\}\}", texts):
        assert label in allowed, f"{name}: no label {label}"
    assert expression.count("(") == expression.count(")")


def test_ids_of_panels_and_names_of_alerts_are_unique():
    board = json.loads((ROOT / "ops/grafana-dashboard.json").read_text())
    ids = [p["id"] for p in board["panels"]]
    assert len(ids) == len(set(ids))
    names = re.findall(r"alert: (\w+)", pathlib.Path(ROOT / "ops/prometheus-rules.yaml").read_text())
    assert len(names) == len(set(names))
