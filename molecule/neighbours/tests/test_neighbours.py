"""Programs and sites of others on the host are left alone."""

from __future__ import annotations

from support import Machine

testinfra_hosts = ["ansible://settled"]


def test_a_foreign_program_was_never_restarted(machine: Machine) -> None:
    assert machine.output("supervisorctl pid neighbour") == machine.output("cat /root/neighbour.pid")


def test_a_foreign_server_block_still_answers(machine: Machine) -> None:
    assert machine.ask("/", "anything.test", 8099).body == b"neighbour\n"
