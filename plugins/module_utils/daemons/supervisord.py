"""XML-RPC client of the host's supervisord, over its unix socket."""

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
    """A problem with supervisord, with its remedy."""


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
        """Call one of supervisor's methods. Text in the result is made printable.

        :raises SupervisorError: if supervisord does not answer
        :raises xmlrpc.client.Fault: if supervisord rejects the call
        """
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_Transport(self.path))
        try:
            return visible_all(getattr(proxy.supervisor, method)(*arguments))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise SupervisorError(
                f"supervisord is not running on this host (no answer at {self.path}); start it with "
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
                f"supervisord closed the connection at {self.path} ({error!r}); it may be restarting. Run again"
            ) from error

    def pid(self) -> int:
        """PID of supervisord itself."""
        return self.call("getPID")

    def running(self) -> bool:
        """Whether supervisord answers."""
        try:
            self.pid()
        except SupervisorError:
            return False
        return True

    def programs(self) -> list[str]:
        """All programs that it has loaded, running or not."""
        return sorted({info["group"] for info in self.call("getAllProcessInfo")})

    def restart(self) -> None:
        """Stop every program, reload the whole configuration and start again, in the same process."""
        self.call("restart")
