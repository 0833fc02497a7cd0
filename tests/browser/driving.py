"""A browser tab with the page: what a person does and reads there. It waits for states of the page, never for times."""

import contextlib
import json
import re
import time
from urllib.parse import parse_qsl, urlsplit

from backwalk.web.plane import unpack

LONGEST = 300_000  # milliseconds, of hangs alone
PANELS = ("watch", "train", "particle", "field", "bound", "compare", "rows", "code")
_OWN_SCHEMES = ("data", "blob")


def value(text):
    """Return the number that a text of the page begins with: a true minus sign, commas, powers of ten."""
    text = text.replace("−", "-").replace(",", "")
    found = re.match(r"\s*(-?[\d.]+)(?: × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    power = found[2].translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) if found[2] else "0"
    return float(found[1]) * 10.0 ** int(power)


class Tab:
    """A tab in a browser context of its own. `faults` gets its errors, and requests that failed or went elsewhere."""

    def __init__(self, context, address, faults):
        self.context, self.address, self.faults = context, address, faults
        self.own = address.partition("/?")[0]
        self.allowed = set()
        self.page = context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        self.page.on("request", self._asked)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)
        self.page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def _said(self, message):
        refused = re.search(r"responded with a status of (\d+)", message.text)
        if message.type in ("error", "warning") and not (refused and int(refused[1]) in self.allowed):
            self.faults.append(f"console: {message.text}")

    def _asked(self, request):
        if not (request.url.startswith(f"{self.own}/") or urlsplit(request.url).scheme in _OWN_SCHEMES):
            self.faults.append(f"foreign request: {request.url}")

    def _failed(self, request):
        if "ERR_ABORTED" not in (request.failure or ""):  # the page gives up chains that nobody waits for any more
            self.faults.append(f"failed request: {request.url} {request.failure}")

    def _answered(self, response):
        if response.status >= 400 and response.status not in self.allowed:
            self.faults.append(f"{response.status}: {response.url}")

    @contextlib.contextmanager
    def refused(self, *statuses):
        """Allow answers with these statuses in the block."""
        self.allowed |= set(statuses)
        yield
        self.page.wait_for_timeout(50)  # for the console's lines
        self.allowed -= set(statuses)

    def open(self, fragment=""):
        """Open the page with a state, and wait until its chain is there."""
        self.page.goto(f"{self.address}#{fragment}" if fragment else self.address)
        return self.settle()

    def settle(self):
        """Wait until the page is ready and waits for nothing."""
        self.page.wait_for_selector("body.ready:not(.waiting)")
        self.page.wait_for_selector("[role=tabpanel]:not([hidden]):not(.waiting)")
        return self

    def tell(self, selector):
        """Return the text of an element."""
        return self.page.locator(selector).inner_text()

    def goto(self, name):
        """Open a panel."""
        self.page.click(f"#tab-{name}")
        return self.settle()

    @property
    def panel(self):
        """The panel that is open."""
        return self.page.locator("[role=tabpanel]:not([hidden])")

    @property
    def problem(self):
        """The error that is shown, waited for."""
        self.page.wait_for_selector("#problem:not([hidden])")
        return self.tell("#problem p")

    def wait(self, expression, argument=None):
        """Wait until an expression of JavaScript holds. (The page's policy forbids what `wait_for_function` does.)"""
        limit = time.monotonic() + LONGEST / 1000
        while not self.page.evaluate(expression, argument):
            assert time.monotonic() < limit, f"waited in vain: {expression}"
            self.page.wait_for_timeout(20)

    def until(self, holds):
        """Wait until a function of Python returns something true."""
        limit = time.monotonic() + LONGEST / 1000
        while not holds():
            assert time.monotonic() < limit, "waited in vain"
            self.page.wait_for_timeout(50)

    def has_moved_from(self, t):
        """Wait until the picture is nearer to the data than at step t."""
        limit = time.monotonic() + LONGEST / 1000
        while self.reading[0] >= t:
            assert time.monotonic() < limit, f"the picture rests at t = {t}"
            self.page.wait_for_timeout(20)

    def has(self, name):
        """Whether the body has a class: ready, playing, waiting, training."""
        return self.page.evaluate("name => document.body.classList.contains(name)", name)

    # The picture.

    @property
    def reading(self):
        """What the picture shows: (t, percent of signal, log-SNR)."""
        found = re.match(r"t = (\S+) · (\S+) % signal · log-SNR (\S+)", self.tell("#reading").replace("−", "-"))
        return float(found[1].replace(",", "")), float(found[2]), float(found[3].replace("∞", "inf"))

    def at(self, place):
        """Move the slider to a state of the chain, and wait until the picture is there."""
        self.page.locator("#level").fill(str(place))
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.settle()

    def at_step(self, t):
        """Move the slider to the state at step t of the chain. Fails where the chain does not hold it."""
        low, high = 0, int(self.page.get_attribute("#level", "max"))
        while low <= high:
            middle = (low + high) // 2
            now = self.at(middle).reading[0]
            if now == t:
                return self
            low, high = (middle + 1, high) if now < t else (low, middle - 1)
        raise AssertionError(f"no state at t = {t}")

    def pause(self):
        """Stop the picture."""
        if self.has("playing"):
            self.page.click("#play")
        return self

    def set(self, **controls):
        """Set controls by their ids, n_rows for #n-rows and set_n_steps for #set-n_steps, to texts or numbers."""
        for name, content in controls.items():
            own = name.replace("_", "-", 1) if name.startswith("set_") else name.replace("_", "-")
            control = self.page.locator(f"#{own}")
            if control.evaluate("node => node.tagName") == "SELECT":
                control.select_option(str(content))
            else:
                control.fill(str(content))
                control.blur()
        return self

    def numbers(self):
        """Return the table behind the picture, as texts."""
        if not self.page.locator("#numbers").get_attribute("open") is not None:
            self.page.click("#numbers summary")
        self.page.wait_for_selector("#numbers-table table")
        return self.table("#numbers-table table")

    def table(self, selector):
        """Return the cells of a table's body, row by row."""
        rows = "table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText))"
        return self.page.locator(selector).first.evaluate(rows)

    def chain(self, act):
        """Return header and arrays of the chain that an action asks for."""
        with self.page.expect_response(lambda response: response.url.endswith("/chain")) as found:
            act()
        body = found.value.body()
        self.settle()
        return unpack(body)

    # What is remembered.

    def fragment(self, *parts):
        """Return the URL's state once it holds these parts: name=value, or a name alone."""
        for part in parts:
            self.wait(
                "part => location.hash.slice(1).split('&').some(each => [each, each.split('=')[0]].includes(part))",
                part,
            )
        return dict(parse_qsl(self.page.evaluate("location.hash.slice(1)")))

    def stored(self, key):
        """Return what the tab keeps for itself."""
        return self.page.evaluate("key => sessionStorage.getItem(key)", key)

    def fetch(self, path):
        """Get an answer of the server for this tab's workspace, past the page."""
        headers = {"X-Backwalk-Workspace": self.stored("backwalk-workspace")}
        answered = self.context.request.get(f"{self.own}{path}", headers=headers)
        assert answered.ok, answered.text()
        return answered

    # Training.

    def small(self, steps=60, **more):
        """Choose a small network and a few training steps."""
        if self.page.locator("#more-settings").get_attribute("open") is None:
            self.page.click("#more-settings summary")
        self.set(set_network="residual")
        return self.set(set_width=32, set_depth=2, set_max_steps=steps, set_n_steps=100, **more)

    def train(self, button="#train"):
        """Train until the end, and return the model's id."""
        self.page.wait_for_selector(f"{button}:not([disabled])")
        before = self.stored("backwalk-fit")
        self.page.click(button)
        return self.trained(before)

    def trained(self, before=None):
        """Wait for the end of a fit other than `before`, and for its chain; return the model's id."""
        self.wait("before => sessionStorage.getItem('backwalk-fit') !== before", before)
        self.wait("() => /Fitted|Stopped/.test(document.querySelector('#training-reading').innerText)")
        self.wait("() => !document.body.classList.contains('training')")
        model = self.fetch(f"/api/fits/{self.stored('backwalk-fit')}").json()["model"]
        self.fragment(f"model={model}")
        self.settle().pause()
        return model

    @property
    def step(self):
        """The training step that the page shows, or -1."""
        found = re.match(r"Training step ([\d,]+)", self.tell("#training-reading"))
        return int(found[1].replace(",", "")) if found else -1

    def trains_beyond(self, step):
        """Wait until the page shows a later training step."""
        limit = time.monotonic() + LONGEST / 1000
        while self.step <= step:
            assert time.monotonic() < limit, f"no training step after {step}"
            self.page.wait_for_timeout(20)

    def events(self, kind):
        """Return the events of one kind of the last fit, which has ended."""
        text = self.fetch(f"/api/fits/{self.stored('backwalk-fit')}/events").text()
        found = re.findall(rf"event: {kind}\ndata: (.*)\n", text)
        return [json.loads(each) for each in found]
