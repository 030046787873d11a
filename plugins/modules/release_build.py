#!/usr/bin/python
"""Build a release on the host; the action plugin of the same name composes its options and packs the payload."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_build
short_description: Build a release of a site, unless the live one matches the site config
description:
  - Compares what a release would be made from with what the live release was made from, and checks the live release's
    files, program and health.
  - When a release is needed, packs the source on the controller and builds it on the host. Nothing goes live here.
  - A task gives C(site) (its key), C(settings) (its merged entry of the site config), C(files) (the server's
    configuration by file name), C(processes), C(environment), C(brotli) and, to reach a package index,
    C(package_index), C(http_proxy) and C(no_proxy). The action plugin composes the options below of these.
  - The environment travels in the payload alone and never becomes an argument of the module or a result.
options:
  manifest:
    description: What the release is made of and how it runs. It holds no secret.
    type: dict
    required: true
    suboptions:
      site: {description: The site's key., type: str, required: true}
      root: {description: The site's directory on the host., type: path, required: true}
      user: {description: The site's user; its primary group may read the release., type: str, required: true}
      source: {description: "Where the code came from, in words and without a login.", type: str, default: ""}
      lock: {description: "The lock file, relative to the source.", type: str, default: requirements.txt}
      packages:
        description: Whether the host fetches the packages from an index, or gets their wheels with the payload.
        type: str
        choices: [index, wheelhouse]
        default: index
      wsgi: {description: "The WSGI app, as MODULE:CALLABLE.", type: str, required: true}
      server:
        description: The server, and where it listens.
        type: dict
        suboptions:
          name: {description: Which server., type: str, choices: [gunicorn, uwsgi], default: gunicorn}
          from:
            description: Whether the server comes with the release, or is the distribution's.
            type: str
            choices: [release, distribution]
            default: release
          workers:
            description: The settings that the launcher counts workers and threads from.
            type: dict
            suboptions:
              workers: {description: A number of processes or C(auto)., type: raw, default: auto}
              workers_max: {description: At most so many; 0 is no limit., type: int, default: 0}
              workers_min: {description: With autoscaling at least so many; 0 is no autoscaling., type: int, default: 0}
              threads: {description: "Requests that a worker handles at once, or C(auto).", type: raw, default: 1}
          worker_class: {description: gunicorn's worker class., type: str, default: gthread}
          listen: {description: Further TCP listeners., type: list, elements: str, default: []}
          backlog: {description: How many connections may wait., type: int, default: 2048}
          tls: {description: Whether the server itself speaks TLS., type: bool, default: false}
          socket_group: {description: The group that may connect to the slot's socket., type: str, default: www-data}
      processes:
        description: "Processes and jobs by name, each with kind, command (a list), count, stop_signal and patience."
        type: dict
        default: {}
      public: {description: Folders of the release that nginx reads., type: list, elements: str, default: []}
      hashed_names: {description: A regular expression for files with a hash in their name., type: str, default: ""}
      compress:
        description: Formats of compressed copies of public files.
        type: list
        elements: str
        choices: [gzip, brotli]
        default: []
      health:
        description: The health check; C(host), C(path), C(status), C(body), C(timeout) and C(scheme).
        type: dict
        default: {}
      resources: {description: The limits of the site's processes., type: dict, default: {}}
      going_live:
        description: Whether this release may run beside another one while it goes live.
        type: str
        choices: [overlap, replace]
        default: overlap
      max_body: {description: The largest request body in bytes; 0 is no limit., type: int, default: 0}
      keep_releases: {description: How many complete releases stay., type: int, default: 5}
  parts: {description: "Hashes of code, requirements and config.", type: dict, required: true}
  environment_hash: {description: Hash of the environment., type: str, required: true}
  payload: {description: The payload on the host; without it the module only reports what it would do., type: path}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Build a release, unless the live one matches the site config
  wsgi.sites.release_build:
    site: wordbook
    settings: "{{ site_entry }}"
    files: {gunicorn.conf.py: "…", program-blue.conf: "…", program-green.conf: "…"}
    environment: {GREETING: Hello}
"""

RETURN = r"""
site: {description: The site's key., type: str, returned: always}
needed: {description: Whether a release has to be started and put live., type: bool, returned: always}
after_live: {description: Whether hooks of an interrupted run are pending., type: bool, returned: always}
reason: {description: "Why, in words.", type: str, returned: always}
release: {description: "ID of the release to start, or of the live one.", type: str, returned: always}
slot: {description: "The idle slot if something is needed, else the live one.", type: str, returned: always}
build: {description: Whether the release still has to be built (only without a payload)., type: bool, returned: always}
target:
  description: What wheels must fit.
  type: dict
  returned: for a wheelhouse
  contains:
    markers: {description: "The markers of requirements files, by name.", type: dict, returned: always}
    platform: {description: The platform as Python names it., type: str, returned: always}
    libc: {description: Its name and version., type: list, elements: str, returned: always}
remark: {description: What was repaired after an interrupted run., type: str, returned: always}
problems:
  description: Which processes of the live release do not run.
  type: list
  elements: str
  returned: always
pruned: {description: Old releases that were removed., type: list, elements: str, returned: after a build}
"""

import os
import traceback
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment, store
from ansible_collections.wsgi.sites.plugins.module_utils.releases.ensure import ensure_release, explain
from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.manifest import SPEC
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "manifest": {"type": "dict", "required": True, "options": SPEC},
            "parts": {"type": "dict", "required": True},
            # A hash of weak secrets can be guessed: it stays out of logs and out of what -vvv shows.
            "environment_hash": {"type": "str", "required": True, "no_log": True},
            "payload": {"type": "path"},
        },
        supports_check_mode=True,
    )
    # Whatever umask the operator's login has: others must be able to pass through and nginx to read.
    os.umask(0o022)
    site, payload = module.params["manifest"]["site"], module.params["payload"]
    try:
        result = ensure_release(module.params, module.check_mode)
        if result["remark"]:
            module.warn(result["remark"])
        module.exit_json(**result)
    except Busy as error:
        module.fail_json(msg=str(error))
    except (BuildError, store.UnpackError, deployment.StepError) as error:
        module.fail_json(msg=f"{site}: {error}")
    except OSError as error:
        module.fail_json(msg=f"{site}: {explain(error)}")
    except Exception as error:  # noqa: BLE001 - its text may quote what is in the payload
        where = "".join(traceback.format_tb(error.__traceback__))
        module.fail_json(msg=f"{site}: {type(error).__name__} while the release was built", where=where)
    finally:
        if payload:
            # It holds the environment; Ansible removes the folder later, but not after every kind of end.
            Path(payload).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
