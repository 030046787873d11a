"""A site's folders and account: set up once, refused on collisions, archived on removal."""

from __future__ import annotations

import json
import os
import pwd
import stat
import subprocess

import pytest
from supervised import Host, get

from ansible_collections.wsgi.sites.plugins.module_utils.releases import fingerprint
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site import accounts as system
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths, registry
from ansible_collections.wsgi.sites.plugins.module_utils.site import removal as site_removal
from ansible_collections.wsgi.sites.plugins.module_utils.site.provision import ProxyOnlySetup, SiteSetup
from ansible_collections.wsgi.sites.plugins.module_utils.site.removal import Removal


class Accounts:
    """A stand-in for useradd and similar tools: no test changes the machine's users."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: set[str] = set()
        self.commands: list[str] = []
        nobody = pwd.getpwnam("nobody")
        monkeypatch.setattr(system, "find_user", lambda name: nobody if name in self.known else None)
        found = system.find_group
        monkeypatch.setattr(system, "find_group", lambda name: found(name) if name == "www-data" else None)
        monkeypatch.setattr(site_removal, "end_processes", lambda uid: None)

    def run(self, command: list[str]) -> tuple[int, str, str]:
        self.commands.append(command[0])
        if command[0] == "useradd":
            self.known.add(command[-1])
        elif command[0] == "userdel":
            self.known.discard(command[-1])
        else:
            subprocess.run(command, check=True)
        return 0, "", ""


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> Accounts:
    return Accounts(monkeypatch)


@pytest.fixture
def empty_host(bare_host: Host) -> Host:
    """A host that never had a site."""
    subprocess.run(["rm", "-r", bare_host.site.root, bare_host.site.logs], check=True)
    return bare_host


def mode(path: os.PathLike) -> str:
    return f"{stat.S_IMODE(os.lstat(path).st_mode):04o}"


def provision(host: Host, accounts: Accounts, **changes: object) -> list[str]:
    return SiteSetup(host.site, "shop", accounts.run, **changes).apply()


def test_a_site_is_set_up_once(empty_host: Host, accounts: Accounts) -> None:
    site = empty_host.site
    would = provision(empty_host, accounts, check_mode=True)
    assert not site.root.exists()
    assert not site.record.exists()
    assert provision(empty_host, accounts) == would
    assert provision(empty_host, accounts) == []
    assert accounts.commands == ["useradd"]
    places = (site.root, site.shared, site.shared / "data", site.shared / "media", site.logs, site.log, site.record)
    assert [mode(path) for path in places] == ["0755", "0755", "0700", "2750", "0751", "0640", "0600"]
    assert [os.lstat(path).st_uid for path in places] == [0, 0, 65534, 65534, 0, 0, 0]
    assert (site.config / "environment").readlink() == site.live / "release/environment"


def test_a_wrong_mode_is_corrected(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    (empty_host.site.shared / "data").chmod(0o777)
    assert provision(empty_host, accounts, check_mode=True) == [
        f"correct owner and mode of {empty_host.site.shared}/data"
    ]
    provision(empty_host, accounts)
    assert mode(empty_host.site.shared / "data") == "0700"


def test_nginx_may_own_its_logs(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    os.chown(empty_host.site.logs / "access.log", pwd.getpwnam("www-data").pw_uid, -1)
    assert provision(empty_host, accounts) == []


def test_every_collision_is_listed_and_nothing_is_changed(empty_host: Host, accounts: Accounts) -> None:
    site = empty_host.site
    accounts.known.add("shop")
    places = (site.root, site.config, site.logs, site.rotation, site.command, site.program("blue"))
    for path in places[:3]:
        path.mkdir()
        (path / "file").touch()
    for path in places[3:]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with pytest.raises(StepError) as caught:
        provision(empty_host, accounts)
    for words in ("the user shop", *map(str, places), "Nothing was changed"):
        assert words in str(caught.value)
    assert not site.record.exists()
    assert [path.name for path in site.root.iterdir()] == ["file"]


def test_an_empty_root_may_be_a_mount_point_for_the_setup(empty_host: Host, accounts: Accounts) -> None:
    (empty_host.site.root / "lost+found").mkdir(parents=True)
    assert provision(empty_host, accounts)
    assert mode(empty_host.site.shared) == "0755"


def test_an_interrupted_setup_is_completed(
    empty_host: Host, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SiteSetup, "_link", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            provision(empty_host, accounts)
    assert provision(empty_host, accounts)
    assert provision(empty_host, accounts) == []


def test_another_user_or_root_is_refused_with_the_remedy(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    with pytest.raises(
        StepError, match=r"set up on this host with user shop, and the site config has other.*state: absent"
    ):
        SiteSetup(empty_host.site, "other", accounts.run).apply()
    twin = paths.Layout("twin", empty_host.folder / "srv/twin")
    accounts.known.clear()
    with pytest.raises(StepError, match="the user shop belongs to the site shop"):
        SiteSetup(twin, "shop", accounts.run).apply()


def test_a_removed_sites_shared_files_are_archived(host: Host, accounts: Accounts) -> None:
    subprocess.run(["rm", "-r", host.site.root, host.site.logs], check=True)
    provision(host, accounts)
    host.deploy("r1")
    (host.site.shared / "data/words.db").write_text("kept")
    server = get(host.sock)["pid"]
    would = Removal("shop", accounts.run, check_mode=True).remove()
    assert get(host.sock)["pid"] == server
    removal = Removal("shop", accounts.run)
    assert len(removal.remove()) == len(would)
    archive = paths.Path(removal.archive)
    assert archive.parent == host.folder / "srv/.archive"
    assert (archive / "data/words.db").read_text() == "kept"
    assert (mode(archive), mode(archive.parent), archive.stat().st_uid) == ("0700", "0700", 0)
    assert not [path for path in (host.site.root, host.site.config, host.site.logs, host.site.record) if path.exists()]
    assert host.programs() == []
    assert host.state("blue") == "absent"
    assert accounts.known == set()
    assert list((host.folder / "run").glob("*.pid")) == []
    again = Removal("shop", accounts.run)
    assert (again.remove(), again.archive) == ([], "")
    assert Removal("shop", accounts.run, purge=True).remove() == [f"delete {archive}"]
    assert not archive.exists()
    assert Removal("shop", accounts.run, purge=True).remove() == []


def test_purge_deletes_at_once(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    Removal("shop", accounts.run, purge=True).remove()
    assert not empty_host.site.root.exists()
    assert not (empty_host.folder / "srv/.archive").exists()


def elsewhere(host: Host, link: paths.Path, name: str) -> paths.Path:
    """Move a folder of the site to another disk and link to it."""
    target = host.folder / "disk" / name
    target.parent.mkdir(exist_ok=True)
    link.rename(target)
    link.symlink_to(os.path.relpath(target, link.parent.resolve()))
    return target


def removed(accounts: Accounts, purge: bool = True) -> Removal:
    """A removal that did what check mode had announced."""
    would = Removal("shop", accounts.run, purge=purge, check_mode=True)
    removal = Removal("shop", accounts.run, purge=purge)
    would.remove()
    removal.remove()
    assert (len(would.changes), would.left) == (len(removal.changes), removal.left)
    return removal


@pytest.mark.parametrize("archived_before", [False, True])
def test_purge_deletes_the_target_of_a_link(empty_host: Host, accounts: Accounts, archived_before: bool) -> None:
    provision(empty_host, accounts)
    disk = elsewhere(empty_host, empty_host.site.shared, "shop")
    (disk / "data/words.db").write_text("secret")
    assert provision(empty_host, accounts) == []
    if archived_before:
        removal = removed(accounts, purge=False)
        assert paths.Path(removal.archive, "data/words.db").exists()
        assert [(path.stat().st_uid, mode(path)) for path in disk.iterdir()] == [(0, "0700")] * 2
    removal = removed(accounts)
    assert f"delete {disk}/data" in removal.changes
    assert removal.left == []
    assert not disk.exists()
    assert disk.parent.exists()


def test_a_relative_link_in_the_archive_keeps_its_target(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    elsewhere(empty_host, empty_host.site.root, "site")
    disk = elsewhere(empty_host, empty_host.site.shared, "shared")
    assert paths.Path(removed(accounts, purge=False).archive).resolve() == disk
    removed(accounts)
    assert os.listdir(disk.parent) == []


def test_purge_leaves_and_reports_foreign_files_behind_a_link(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    disk = elsewhere(empty_host, empty_host.site.shared, "all")
    (disk / "other").mkdir()
    os.chown(disk / "media", 65533, -1)
    (said,) = removed(accounts).left
    assert str(disk) in said
    assert "media, other" in said
    assert sorted(os.listdir(disk)) == ["media", "other"]


@pytest.mark.parametrize("purge", [False, True])
def test_a_folder_replaced_by_a_link_of_the_site_is_not_followed_by_root(
    empty_host: Host, accounts: Accounts, purge: bool
) -> None:
    provision(empty_host, accounts)
    disk = elsewhere(empty_host, empty_host.site.shared, "shop")
    victim, folder = empty_host.folder / "victim", empty_host.folder / "folder"
    folder.mkdir(mode=0o755)
    victim.write_text("root's")
    victim.chmod(0o644)
    for path in (victim, folder):
        os.chown(path, 1, 1)
    for name, target in (("data", victim), ("media", folder)):
        (disk / name).rmdir()
        (disk / name).symlink_to(target)
        os.lchown(disk / name, 65534, 65534)
    removal = removed(accounts, purge)
    assert [(path.stat().st_uid, mode(path)) for path in (victim, folder)] == [(1, "0644"), (1, "0755")]
    if not purge:
        assert "data must be a folder" in removal.left[0]


def test_thousands_of_nested_folders_are_removed_with_the_site(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    handle = os.open(empty_host.site.shared / "data", os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    Removal("shop", accounts.run, purge=True).remove()
    assert not empty_host.site.root.exists()


def test_a_few_of_the_remaining_names_are_listed(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    disk = elsewhere(empty_host, empty_host.site.shared, "shop")
    for number in range(300):
        (disk / f"{number:03}").touch()
    (said,) = removed(accounts).left
    assert said.endswith("008, 009 and 290 more")


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(empty_host: Host, accounts: Accounts, umask: int) -> None:
    before = os.umask(umask)
    try:
        provision(empty_host, accounts, files={str(empty_host.folder / "new/deep/file"): "x"})
    finally:
        os.umask(before)
    folder = empty_host.folder
    made = (empty_host.site.root, paths.LIBRARY, folder / "new", folder / "new/deep")
    assert [mode(path) for path in made] == ["0755"] * 4
    paths.LIBRARY.chmod(0o750)
    assert provision(empty_host, accounts) == [f"correct owner and mode of {paths.LIBRARY}"]


def test_the_history_is_readable_by_root_and_the_site_only(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    file = history.path(empty_host.site)
    assert (mode(file), file.stat().st_gid) == ("0640", 65534)
    file.unlink()
    history.append(empty_host.site, "deploy", "ok")
    assert (mode(file), file.stat().st_gid) == ("0640", 65534)
    history.append(empty_host.site, "deploy", "ok", reason="x" * 150)
    history._shorten(empty_host.site, file)
    with file.open("a") as stream:
        stream.write("x\n" * history.LIMIT)
    history.append(empty_host.site, "deploy", "ok")
    assert file.stat().st_size < 2 * history.LIMIT
    assert (mode(file), file.stat().st_gid) == ("0640", 65534)
    file.chmod(0o644)
    os.chown(file, 0, 0)
    assert provision(empty_host, accounts) == [f"correct owner and mode of {file}"]
    assert provision(empty_host, accounts) == []


def old_release(host: Host, name: str, aliases: dict | None) -> paths.Path:
    """A release as an older version has built it."""
    folder = host.site.release(name)
    door = folder / "venv/lib/python3.11/site-packages/shop/static"
    door.mkdir(parents=True)
    for path in (door / "style.css", door.parent / "secret.py", folder / "venv/pyvenv.cfg"):
        path.write_text(path.name)
    (folder / "app").mkdir()
    (folder / "packages").symlink_to("venv/lib/python3.11/site-packages")
    manifest = {} if aliases is None else {"packed": {"ways": [], "aliases": aliases}}
    for file, text, bits in (("release.json", json.dumps(manifest), 0o644), ("environment", "", 0o640)):
        (folder / file).write_text(text)
        (folder / file).chmod(bits)
    (folder / fingerprint.FILE).write_text(fingerprint.record(folder, {"code": "c"}))
    (folder / fingerprint.COMPLETE).touch()
    return folder


def test_releases_of_an_older_version_are_migrated_unchanged(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    served = {"/s/": "packages/shop/static", "/m/": "shared/media"}
    releases = [old_release(empty_host, name, of) for name, of in (("r1", {}), ("r2", served), ("r3", None))]
    (releases[0] / "app/changed.py").touch()
    would = provision(empty_host, accounts, check_mode=True)
    assert would == [f"correct owners and modes of {release}" for release in releases]
    assert mode(releases[0]) == "0755"
    assert provision(empty_host, accounts) == would
    assert provision(empty_host, accounts) == []
    assert [fingerprint.damage(release) for release in releases] == ["files", "", ""]
    assert fingerprint.read(releases[1])["parts"] == {"code": "c"}
    assert [mode(release) for release in releases] == ["0750", "0751", "0751"]
    for release in releases:
        files = [release / "release.json", release / "environment"]
        assert [(mode(file), file.stat().st_gid) for file in files] == [("0640", 65534), ("0600", 0)]
    assert [mode(release / "venv") for release in releases] == ["0750", "0751", "0755"]


def test_maintenance_of_an_older_version_stays_on(empty_host: Host, accounts: Accounts) -> None:
    former = paths.REGISTRY / "shut" / "shop"
    former.parent.mkdir(parents=True)
    former.touch()
    assert f"rename {former.parent}" in provision(empty_host, accounts)
    assert empty_host.site.maintenance.exists()
    assert former.exists(), "nginx still checks for it by this name"
    assert provision(empty_host, accounts) == []


def test_a_missing_disk_is_reported(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    disk = elsewhere(empty_host, empty_host.site.shared, "shop")
    disk.rename(disk.with_name("unplugged"))
    (said,) = removed(accounts).left
    assert f"{disk}, which does not exist now" in said


@pytest.mark.parametrize("purge", [False, True])
def test_a_site_on_another_disk_is_removed_completely(empty_host: Host, accounts: Accounts, purge: bool) -> None:
    provision(empty_host, accounts)
    disk = elsewhere(empty_host, empty_host.site.root, "shop")
    removal = removed(accounts, purge)
    assert removal.left == []
    assert not disk.exists()
    assert bool(removal.archive) is not purge


def test_nothing_runs_while_files_move(host: Host, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["rm", "-r", host.site.root, host.site.logs], check=True)
    provision(host, accounts)
    monkeypatch.setattr(site_removal, "end_processes", lambda _: host.site.shared.joinpath("last-words").touch())
    removal = Removal("shop", accounts.run)
    removal.remove()
    assert paths.Path(removal.archive, "last-words").exists()


def test_the_lock_is_removed_last(empty_host: Host, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    provision(empty_host, accounts)
    site, seen = empty_host.site, []
    purge = Removal._purge_archives
    monkeypatch.setattr(Removal, "_purge_archives", lambda removal: (seen.append(site.lock.exists()), purge(removal)))
    with site_lock(site, last=True):
        Removal("shop", accounts.run, purge=True).remove()
    assert seen == [True]
    assert not site.record.exists()
    assert not site.lock.exists()


def test_foreign_files_are_not_removed(empty_host: Host, accounts: Accounts) -> None:
    empty_host.site.root.mkdir()
    accounts.known.add("shop")
    assert Removal("shop", accounts.run, purge=True).remove() == []
    assert empty_host.site.root.exists()
    assert accounts.commands == []


def test_the_recorded_root_is_used_and_only_archives_are_purged(empty_host: Host, accounts: Accounts) -> None:
    provision(empty_host, accounts)
    precious = empty_host.folder / "precious"
    precious.mkdir()
    (paths.REGISTRY / "shop.archives").write_text(json.dumps([str(precious)]))
    Removal("shop", accounts.run, purge=True).remove()
    assert precious.exists()


def test_two_sites_at_once_install_the_command_by_separate_temporary_files(
    empty_host: Host, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (used.append(paths.Path(old).name), replace(old, new)))
    for name in ("shop", "blog"):
        (paths.LIBRARY / "console").unlink(missing_ok=True)
        SiteSetup(paths.Layout(name, empty_host.folder / "srv" / name), name, accounts.run)._command()
    ours = [path for path in used if "console" in path]
    assert len(ours) == len(set(ours)) == 2
    assert os.access(paths.LIBRARY / "console", os.X_OK)


def test_further_files_are_written_and_corrected(empty_host: Host, accounts: Accounts) -> None:
    file = empty_host.folder / "etc/logrotate.d/shop"
    provision(empty_host, accounts)
    assert f"write {file}" in provision(empty_host, accounts, files={str(file): "daily\n"})
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("daily\n", 0o644)
    assert provision(empty_host, accounts, files={str(file): "daily\n"}) == []
    file.write_text("weekly\n")
    assert provision(empty_host, accounts, files={str(file): "daily\n"}) == [f"write {file}"]


ELSEWHERE = {"servers": ["192.0.2.21:8443"], "name": "shop.example.com", "ca": "", "health": {}}


def proxy_only(host: Host, accounts: Accounts, **changes: object) -> list[str]:
    return ProxyOnlySetup(host.site, "shop", accounts.run, upstream=ELSEWHERE, **changes).apply()


def test_a_proxy_only_site_has_no_user_and_no_releases(empty_host: Host, accounts: Accounts) -> None:
    site = empty_host.site
    site.root.mkdir()
    (site.root / "of-somebody-else").touch()
    accounts.known.add("shop")
    would = proxy_only(empty_host, accounts, check_mode=True)
    assert not site.logs.exists()
    assert proxy_only(empty_host, accounts) == would
    assert proxy_only(empty_host, accounts) == []
    assert sorted(path.name for path in site.logs.iterdir()) == ["access.log", "error.log"]
    assert json.loads(site.record.read_text()) == {"name": "shop", "front": ELSEWHERE}
    assert not (site.config / "environment").is_symlink()

    # Removal leaves everything that has the site's name by chance.
    removal = Removal("shop", accounts.run, purge=True)
    assert removal.remove()
    assert accounts.commands == []
    assert (site.root / "of-somebody-else").exists()
    assert not any(path.exists() for path in (site.logs, site.config, site.record, site.command))
    assert Removal("shop", accounts.run).remove() == []


def test_the_servers_of_a_proxy_only_site_are_recorded_for_its_status(empty_host: Host, accounts: Accounts) -> None:
    proxy_only(empty_host, accounts)
    moved = ProxyOnlySetup(
        empty_host.site, "shop", accounts.run, upstream={**ELSEWHERE, "servers": ["192.0.2.22:8443"]}
    )
    assert moved.apply() == [f"record the site in {empty_host.site.record}"]
    assert registry.recorded_proxy_only()["shop"]["servers"] == ["192.0.2.22:8443"]
    assert registry.recorded_sites() == []


def test_a_site_does_not_change_between_proxy_only_and_not(empty_host: Host, accounts: Accounts) -> None:
    proxy_only(empty_host, accounts)
    with pytest.raises(StepError, match=r"only nginx of the site so far; remove the site"):
        provision(empty_host, accounts)
    Removal("shop", accounts.run).remove()
    provision(empty_host, accounts)
    with pytest.raises(StepError, match=r"has the servers of the site so far; remove the site"):
        proxy_only(empty_host, accounts)


def test_collisions_of_a_proxy_only_site_are_refused(empty_host: Host, accounts: Accounts) -> None:
    empty_host.site.logs.mkdir()
    (empty_host.site.logs / "old.log").touch()
    with pytest.raises(StepError, match=f"{empty_host.site.logs} exists already"):
        proxy_only(empty_host, accounts)
    assert not empty_host.site.record.exists()
