"""Files and launcher manifest of a site's processes and jobs on one host."""

from __future__ import annotations

import configparser
from typing import Any

import pytest
import yaml
from nginx_rig import PROJECT, evaluate, role_variables, trusted

from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import manifest

SHOP = {
    "server_names": ["shop.example.com"],
    "processes": {
        "queue": {"command": "python worker.py --name 'a b'", "count": 3, "stop_signal": "INT", "patience": 90},
        "scheduler": {"command": "python tick.py", "hosts": ["one"]},
    },
    "cron": {"nightly": {"command": "flask purge 50%", "schedule": "15 3 * * *"}},
}


def of_release(name: str, host: str, site: dict[str, Any] = SHOP) -> Any:
    variables = role_variables({"shop": site}, site_name="shop", inventory_hostname=host)
    variables |= trusted(yaml.safe_load((PROJECT / "roles/release/vars/main.yml").read_text()))
    return evaluate(name, variables)


def program(host: str, name: str) -> dict[str, str]:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read_string(of_release("release_files", host)[f"program-{name}.conf"])
    (section,) = parser.sections()
    return {"section": section, **parser[section]}


def test_a_process_has_its_own_count_and_stop_signal() -> None:
    found = program("one", "queue")
    assert found["section"] == "program:shop-queue"
    assert found["command"] == "/usr/local/lib/sites/launcher /srv/shop process queue %(process_num)d"
    assert (found["numprocs"], found["process_name"]) == ("3", "queue_%(process_num)d")
    assert (found["stopsignal"], found["stopwaitsecs"], found["autostart"]) == ("INT", "90", "true")
    assert found["stdout_logfile"] == "/var/log/shop/queue.log"


def test_a_cron_line_contains_nothing_of_the_jobs_command() -> None:
    found = program("one", "nightly")
    assert (found["autostart"], found["autorestart"], found["startsecs"]) == ("false", "false", "0")
    assert (found["stopsignal"], found["stopwaitsecs"], found["numprocs"]) == ("TERM", "30", "1")
    crontab = of_release("release_files", "one")["crontab"]
    assert crontab.startswith("# Made from roles/supervisor/templates/crontab.j2; edits here are lost.\n")
    assert crontab.endswith("\n15 3 * * * root /usr/local/bin/shop-ctl job nightly\n"), "cron wants its last newline"


def test_a_host_runs_only_processes_for_it_or_for_all_hosts() -> None:
    assert set(of_release("__release_process_manifest", "one")) == {"nightly", "queue", "scheduler"}
    assert set(of_release("__release_process_manifest", "two")) == {"nightly", "queue"}
    assert "program-scheduler.conf" not in of_release("release_files", "two")


def test_the_manifest_has_the_arguments_of_the_command() -> None:
    found = of_release("__release_process_manifest", "one")["queue"]
    assert found == {
        "kind": "process", "command": ["python", "worker.py", "--name", "a b"], "count": 3, "stop_signal": "INT",
        "patience": 90,
    }  # fmt: skip


@pytest.mark.parametrize("of", ["release_files", "__release_process_manifest"])
def test_a_site_without_processes_has_no_files_for_them(of: str) -> None:
    found = of_release(of, "one", {"server_names": ["shop.example.com"]})
    assert set(found) == (
        {"gunicorn.conf.py", "wsgi_middleware.py", "program-blue.conf", "program-green.conf"}
        if of == "release_files"
        else set()
    )


@pytest.mark.parametrize(
    ("keys", "there"),
    [
        ({"workers_min": 2}, True),
        ({"workers_min": 2, "worker_class": "gevent", "workers": 9}, True),
        ({}, False),
        ({"workers_min": 2, "server": "uwsgi"}, False),
    ],
)
def test_the_autoscaler_is_one_of_the_processes(keys: dict[str, Any], there: bool) -> None:
    site = {**SHOP, "root": "/opt/shop", **keys}
    assert ("scaler" in of_release("__release_process_manifest", "one", site)) is there
    assert ("program-scaler.conf" in of_release("release_files", "one", site)) is there
    if there:
        brought = of_release("__release_process_manifest", "one", site)["scaler"]
        assert brought["command"] == ["/usr/local/lib/sites/scaler", "/opt/shop", "shop"]
        assert (brought["kind"], brought["count"]) == ("process", 1)
        settings = manifest.worker_settings(of_release("site_entry", "one", site))
        assert settings["workers_min"] == 2
        assert settings["threads"] == (1000 if "worker_class" in keys else 4)
