"""Users of the sample site: with a browser, by a program that fills in forms, and by mail."""

from __future__ import annotations

import email
import email.policy
import io
import re
from dataclasses import dataclass, field
from typing import Any

import requests
from PIL import Image, ImageDraw
from playwright.sync_api import Page
from support import PROJECT, Machine, Site, wait_until

# Screenshots, kept after the run.
SCREENS = PROJECT / "build" / "screens"
# Logs the browser's event for each violation of the Content-Security-Policy.
LOG_VIOLATIONS = """document.addEventListener("securitypolicyviolation", event =>
    console.error(`the policy forbids ${event.blockedURI} by ${event.violatedDirective}`))"""
PASSWORD = "correct horse 电池"


@dataclass
class Person:
    """A visitor with a browser, who sees each page at a desk and on a phone."""

    page: Page
    site: Site
    seen: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(LOG_VIOLATIONS)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda line: line.type == "error" and self.problems.append(line.text))
        self.page.on("request", lambda request: self._check(request.url))

    def _check(self, url: str) -> None:
        if not url.startswith((f"http://{self.site.server_name}/", "data:")):
            self.problems.append(f"request to another host: {url}")

    def open(self, path: str) -> None:
        """Go to a page of the site, or follow a link."""
        self.page.goto(path if "://" in path else f"http://{self.site.server_name}{path}")

    def fill(self, **fields: str) -> None:
        """Type into the fields of these names."""
        for name, text in fields.items():
            self.page.locator(f"main [name={name}]").fill(text)

    def press(self, words: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=words).click()

    def snapshot(self, name: str) -> None:
        """Take a screenshot, and check that nothing is cut off on a phone."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        for kind, width, height in (("phone", 390, 844), ("desk", 1200, 800)):
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.screenshot(path=SCREENS / f"{name}-{kind}.png", full_page=True)
            wide = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            if wide > 0:
                self.problems.append(f"{name} is {wide} pixels too wide for a {kind}")
        self.seen.append(name)


class Client:
    """A program that fills in forms as a browser does: with cookies and the token of each form."""

    def __init__(self, site: Site, address: str = "") -> None:
        self.site = site
        self.session = requests.Session()
        self.session.headers["Host"] = site.server_name
        self.base = f"http://{address or site.machine.address}:{site.port}"

    def get(self, path: str, **options: Any) -> requests.Response:
        """Read a page."""
        return self.session.get(self.base + path, timeout=30, **options)

    def post(self, path: str, data: dict[str, Any] | None = None, form: str = "", **options: Any) -> requests.Response:
        """Submit the form of a page, which has the same address unless ``form`` is another."""
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', self.get(form or path).text)
        assert token, f"{form or path} shows no form"
        return self.session.post(
            self.base + path,
            data={"csrf_token": token[1], **(data or {})},
            timeout=30,
            allow_redirects=False,
            **options,
        )

    def log_in(self, address: str) -> Client:
        """Log in as a registered user."""
        answer = self.post("/account/login", {"email": address, "password": PASSWORD})
        assert answer.status_code == 302, answer.text
        return self

    def add(self, english: str, chinese: str = "词", **options: Any) -> requests.Response:
        """Add a word."""
        return self.post("/words/add", {"english": english, "chinese": chinese}, **options)

    def words(self, text: str = "") -> dict[str, Any]:
        """Get the words that contain this text from the API."""
        return self.get("/api/words", params={"q": text, "per_page": 100}).json()


def flask(site: Site, *words: str) -> str:
    """Run a command of the site as its user, with its environment."""
    command = ["env", f"ADMIN_PASSWORD={PASSWORD}", "flask", "--app", "wsgi", *words]
    launcher = f"/usr/local/lib/sites/launcher {site.root} run -- "
    return site.machine.output(launcher + " ".join(["%s"] * len(command)), *command)


def mail_to(machine: Machine, address: str) -> str:
    """The text of the newest mail to an address, as soon as there is one."""

    def newest() -> str:
        folder = "/var/lib/mail-sink/new"
        name = machine.host.run("grep -lFx %s -r " + folder + " | xargs -r ls -t | head -n 1", f"To: {address}").stdout
        return machine.output("cat %s", name.strip()) if name else ""

    text = wait_until(newest, f"there is a mail to {address}", timeout=20)
    return email.message_from_string(text, policy=email.policy.default).get_content()


def png() -> bytes:
    """A picture of a cup of tea, 480 pixels wide."""
    picture = Image.new("RGB", (480, 300), "#f3e7d3")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((290, 120, 370, 200), outline="#b1382c", width=14)
    pen.rounded_rectangle((140, 90, 320, 240), 40, fill="#b1382c")
    pen.ellipse((140, 70, 320, 120), fill="#fffaf2", outline="#b1382c", width=8)
    pen.ellipse((160, 80, 300, 112), fill="#8a5a2b")
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
