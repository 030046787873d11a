"""A visitor uses the site in a real browser."""

from __future__ import annotations

import re
import time
from pathlib import Path

from people import PASSWORD, Person, mail_to
from support import Machine

testinfra_hosts = ["ansible://paper"]


def test_from_registering_to_a_word_with_a_picture(machine: Machine, person: Person, picture: Path) -> None:
    address = f"mei{time.time():.0f}@example.org"
    person.open("/")
    person.snapshot("words")

    person.open("/account/register")
    person.snapshot("register")
    person.fill(email=address, password=PASSWORD, again=PASSWORD)
    person.press("Register 注册")
    person.snapshot("log-in")
    person.fill(email=address, password=PASSWORD)
    person.press("Log in 登录")

    person.open("/words/add")
    assert "Please confirm your e-mail address first" in person.page.inner_text("main")
    link = re.search(r"http://\S+", mail_to(machine, address))
    assert link
    person.open(link[0])
    person.snapshot("confirm")
    person.press("Confirm 确认")

    person.fill(
        english="cup",
        chinese="杯子",
        english_example="The cup is still warm.",
        chinese_example="杯子还是热的。",
    )
    person.page.locator("[name=picture]").set_input_files(picture)
    person.snapshot("add")
    person.press("Save 保存")
    person.page.locator("img.picture").wait_for()
    person.snapshot("word")
    image = person.page.locator("img.picture")
    assert image.evaluate("image => image.naturalWidth") == 480
    served = machine.ask(image.get_attribute("src"), person.site.server_name)
    # nginx's own policy for uploads: it served the file without Python.
    assert "sandbox" in served.headers["Content-Security-Policy"]

    person.open("/")
    person.page.get_by_role("searchbox").fill("杯子")
    person.press("Search 搜索")
    assert "The cup is still warm." in person.page.inner_text("main")
    person.snapshot("search")

    for path, name in (("/cookies", "cookies"), ("/echo?name=茶&name=tea", "echo"), ("/account/password", "password")):
        person.open(path)
        person.snapshot(name)
    # On a phone's width the button would be in the menu.
    person.press("Log out 退出")
    person.page.get_by_role("link", name="Register").wait_for()
    assert not person.problems

    person.open("/no/such/page")
    person.snapshot("not-found")


def test_a_violation_of_the_policy_is_reported(person: Person) -> None:
    """So that an empty list of problems proves something."""
    answer = person.page.goto(f"http://{person.site.server_name}/")
    assert answer and "default-src 'self'" in answer.headers["content-security-policy"]
    with person.page.expect_console_message(lambda line: "the policy forbids inline by script-src" in line.text):
        person.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'x = 1'}))")
    assert person.problems


def test_times_are_shown_in_chinese_without_an_inline_script(person: Person) -> None:
    person.open("/")
    person.page.locator("table.words a").first.click()
    assert re.search(r"\d+年\d+月\d+日", person.page.locator("time").first.inner_text())
    assert person.page.locator("script:not([src])").count() == 0
    assert not person.problems
