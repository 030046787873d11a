"""Hooks run as the site, in order; a failure stops the deploy and shows no secret."""

from __future__ import annotations

import getpass
import time
from pathlib import Path

import pytest
from module_run import run
from project import load
from supervised import Host

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import format_environment
from ansible_collections.wsgi.sites.plugins.module_utils.system import process
from ansible_collections.wsgi.sites.plugins.modules import release_choose
from ansible_collections.wsgi.sites.plugins.modules import release_hooks as module

SECRET = "canary 100% 'of' it"


@pytest.fixture
def params(tmp_path: Path) -> dict:
    """A release with a program in its venv, without commands."""
    release = tmp_path / "releases" / "new"
    (release / "app").mkdir(parents=True)
    (tmp_path / "shared").mkdir()
    program = release / "venv" / "bin" / "tell"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$@" in "$(basename "$PWD")": $WORD\n')
    program.chmod(0o755)
    values = {"WORD": "hello", "SITE_NAME": "shop", "TOKEN": SECRET}
    (release / "environment").write_text(format_environment(values))
    user = getpass.getuser()
    return {"site": "shop", "root": str(tmp_path), "user": user, "release": "new", "commands": [], "timeout": 10}


def test_commands_run_in_order_with_the_release_s_programs_and_environment(params: dict) -> None:
    ran = module.perform(params | {"commands": ["tell 'one word'", "printenv SITE_NAME"]})["ran"]
    assert [(one["command"], one["said"]) for one in ran] == [
        ("tell 'one word'", "one word in app: ********"),
        ("printenv SITE_NAME", "shop"),
    ]


def test_the_first_failure_stops_the_hooks_and_masks_secrets(params: dict) -> None:
    left = Path(params["root"]) / "left"
    with pytest.raises(StepError) as caught:
        module.perform(params | {"commands": ["sh -c 'echo $TOKEN >&2; exit 3'", f"touch {left}"]})
    assert "exit code 3. Nothing went live. It said:\n********" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert not left.exists()


def test_a_command_is_stopped_at_its_timeout(params: dict) -> None:
    with pytest.raises(StepError, match=r"did not end within 1 s \(hooks.timeout\)"):
        module.perform(params | {"commands": ["sleep 100"], "timeout": 1})


def test_a_missing_program_is_named(params: dict) -> None:
    with pytest.raises(StepError, match="the hook `flsk db upgrade` names a program that is neither"):
        module.perform(params | {"commands": ["flsk db upgrade"]})


def test_background_processes_of_a_command_end_with_it(params: dict) -> None:
    ran = module.perform(params | {"commands": ["sh -c 'sleep 100 & echo $!'"]})["ran"]
    assert ran[0]["seconds"] < 5
    left = int(ran[0]["said"])
    deadline = time.monotonic() + 10
    while not process.is_gone(left) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.is_gone(left)


@pytest.mark.parametrize(("mode", "text"), [(0o644, "#!/bin/sh\n"), (0o755, "no program at all\n")])
def test_a_script_that_is_not_executable_is_reported(params: dict, mode: int, text: str) -> None:
    script = Path(params["root"], "releases/new/app/migrate")
    script.write_text(text)
    script.chmod(mode)
    with pytest.raises(StepError, match=r"the hook `\./migrate` cannot be run \(.*executable "):
        module.perform(params | {"commands": ["./migrate"]})


def test_pending_hooks_of_an_interrupted_run_are_recorded_until_they_have_run(host: Host) -> None:
    (host.site.shared).mkdir()

    def hooks(commands: list[str]) -> dict:
        named = {"site": "shop", "root": str(host.site.root), "user": "nobody"}
        return run(module, **named, release=host.site.live_release(), when="after_live", commands=commands)

    def choose() -> dict:
        found = run(release_choose, site="shop", root=str(host.site.root), user="nobody", wanted="r1")
        return {key: found[key] for key in ("needed", "after_live")}

    slot = deployment.start(host.site, host.release("r1"), after_live=True)["slot"]
    assert not host.site.has_pending_hooks(), "it is not live yet"
    deployment.switch(host.site, slot, "r1")
    assert choose() == {"needed": False, "after_live": True}
    deployment.switch(host.site, deployment.start(host.site, "r1")["slot"], "r1", drain=0)
    assert choose() == {"needed": False, "after_live": True}, "a restart in between keeps it"
    assert "failed with exit code 1" in hooks(["false"])["msg"]
    assert choose() == {"needed": False, "after_live": False}, "it was reported once before"
    # A release that never went live has no pending hooks.
    deployment.start(host.site, host.release("r2"), after_live=True)
    deployment.abort(host.site)
    deployment.switch(host.site, deployment.start(host.site, "r2")["slot"], "r2", drain=0)
    assert not host.site.has_pending_hooks()


def test_check_mode_runs_no_hook(host: Host) -> None:
    given = {"site": "shop", "root": str(host.site.root), "user": "nobody", "release": "r1", "commands": ["false"]}
    answer = run(load("plugins/modules/release_hooks.py"), check_mode=True, **given)
    assert (answer["changed"], answer["ran"]) == (True, [])
