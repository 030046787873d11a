"""The host's supervisord, asked over its unix socket."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.errors import Refused
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible, visible_all

SOCKET = Path("/run/supervisor.sock")


class SupervisorError(Refused):
    """What stands in the way, with its remedy."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self.path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _Connection(self.path)


class Supervisord:
    """The running supervisord.

    :param path: its socket
    """

    def __init__(self, path: Path = SOCKET) -> None:
        self.path = path

    def call(self, method: str, *arguments: Any) -> Any:
        """Call one of supervisor's own methods. What it says of programs and their errors comes as plain text.

        :raises SupervisorError: when nobody answers
        :raises xmlrpc.client.Fault: when supervisord answers that it will not
        """
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_Transport(self.path))
        try:
            return visible_all(getattr(proxy.supervisor, method)(*arguments))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise SupervisorError(
                f"supervisord is not running on this host (nobody answers at {self.path}); start it with "
                "`systemctl start supervisor`, or `service supervisor start` where there is no systemd, and run again"
            ) from error
        except PermissionError as error:
            raise SupervisorError(f"{self.path} may be reached by root only; run with become") from error
        except xmlrpc.client.Fault as fault:
            if fault.faultString == "SHUTDOWN_STATE":
                raise SupervisorError("supervisord is shutting down; run again once it is up") from fault
            raise xmlrpc.client.Fault(fault.faultCode, visible(fault.faultString)) from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise SupervisorError(
                f"supervisord broke off at {self.path} ({error!r}); is it being restarted? Run again"
            ) from error

    def pid(self) -> int:
        """PID of supervisord itself."""
        return self.call("getPID")

    def running(self) -> bool:
        """Whether a supervisord answers at all."""
        try:
            self.pid()
        except SupervisorError:
            return False
        return True

    def programs(self) -> list[str]:
        """Every program that it knows, running or not."""
        return sorted({info["group"] for info in self.call("getAllProcessInfo")})

    def restart(self) -> None:
        """Stop every program, read the whole configuration and start anew, in the same process."""
        self.call("restart")
