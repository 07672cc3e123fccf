"""Drives the chat of examples/20_chat_web in chromium, by its DevTools protocol: two pages talk, what one says
is text in the other, one is cut off and gets the history when it connects again, one leaves.

    chat_browser.py PROGRAM DIRECTORY CHROMIUM [SCREENSHOTS]
"""
import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile

import websockets


class Page:
    """One tab, in a context of its own."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    async def call(self, method, **parameters):
        return await self.browser.call(method, self.session, **parameters)

    async def value(self, expression):
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                                 awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, expression, seconds=60):
        """Waits until it is true: a slow machine takes longer, and that is all."""
        for _ in range(seconds * 20):
            if await self.value(expression):
                return
            await asyncio.sleep(0.05)
        text = await self.value("document.body.innerText")
        raise AssertionError(f"never true: {expression}\n{text}")

    async def enter(self, name, room):
        await self.until("document.readyState == 'complete' && !!document.getElementById('enter')")
        await self.value(f"document.getElementById('name').value = {json.dumps(name)};"
                         f"document.getElementById('room').value = {json.dumps(room)};"
                         "document.getElementById('enter').requestSubmit()")
        await self.until("document.getElementById('state').textContent == 'Connected'")

    async def say(self, text):
        """As one types it: focus, keys, Enter."""
        await self.value("document.getElementById('text').focus()")
        await self.call("Input.insertText", text=text)
        for kind in "keyDown", "keyUp":
            await self.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter",
                            windowsVirtualKeyCode=13, text="\r" if kind == "keyDown" else "")

    async def shot(self, path, width, height, mobile=False):
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                        deviceScaleFactor=1, mobile=mobile)
        await asyncio.sleep(0.3)
        data = await self.call("Page.captureScreenshot", format="png")
        with open(path, "wb") as file:
            file.write(base64.b64decode(data["data"]))

    def said(self, text):
        return f"[...document.querySelectorAll('#lines .said')].some(e => e.textContent.includes({json.dumps(text)}))"

    def people(self, *names):
        names = json.dumps(sorted(names))
        return (f"JSON.stringify([...document.querySelectorAll('#people li')]"
                f".map(e => e.textContent.replace(' (you)', '')).sort()) == JSON.stringify({names})")


class Browser:
    def __init__(self, socket):
        self.socket, self.number, self.answers = socket, 0, {}
        self.task = asyncio.create_task(self.read())
        self.errors = []

    async def read(self):
        async for text in self.socket:
            message = json.loads(text)
            if "id" in message:
                self.answers.pop(message["id"]).set_result(message)
            elif message["method"] == "Runtime.exceptionThrown":
                self.errors.append(message["params"]["exceptionDetails"]["text"])
            elif message["method"] == "Log.entryAdded":
                entry = message["params"]["entry"]
                if entry["level"] == "error" and entry["source"] != "network":
                    self.errors.append(entry["text"])

    async def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        answer = self.answers[self.number] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps(message))
        message = await asyncio.wait_for(answer, 120)
        if "error" in message:
            raise AssertionError(f"{method}: {message['error']}")
        return message["result"]

    async def open(self, url):
        context = await self.call("Target.createBrowserContext")
        target = await self.call("Target.createTarget", url="about:blank",
                                 browserContextId=context["browserContextId"])
        session = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, session["sessionId"])
        for domain in "Page", "Runtime", "Log", "Network":
            await page.call(domain + ".enable")
        await page.call("Page.navigate", url=url)
        return page


def start_server(program, directory, port=0):
    server = subprocess.Popen([program, "serve", str(port), directory], stdout=subprocess.PIPE, text=True)
    return server, server.stdout.readline().strip()


def stop_server(server):
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0, "the server did not end as it should"


async def two_pages(browser, url, shots):
    ann, bob = await browser.open(url), await browser.open(url)
    await ann.enter("Ann", "sea")
    await bob.enter("Bob", "sea")
    await ann.until(ann.people("Ann", "Bob"))
    await ann.say("Hello, Bob!")
    await bob.until(bob.said("Hello, Bob!"))
    await bob.say("<img src=x onerror=\"document.title='pwned'\"> & \u00e4 \u20ac \U0001f642")
    await ann.until(ann.said("<img src=x onerror=") + " && " + ann.said("\u00e4 \u20ac \U0001f642"))
    assert await ann.value("document.querySelectorAll('#lines img').length") == 0
    assert await ann.value("document.title") == "Chat"

    # Bob is cut off, and what is said meanwhile is there when he is back
    await bob.value("socket.close()")
    await bob.until("document.getElementById('state').textContent == 'Reconnecting'")
    await ann.say("Bob, are you there?")
    await bob.until("document.getElementById('state').textContent == 'Connected'")
    await bob.until(bob.said("Bob, are you there?") + " && " + bob.said("Hello, Bob!"))
    await ann.until(ann.people("Ann", "Bob"))
    assert await bob.value("document.querySelectorAll('#lines .said').length") == 3

    # a second Ann gets another name, and another room hears nothing
    other = await browser.open(url)
    await other.enter("Ann", "sea")
    await ann.until(ann.people("Ann", "Ann 2", "Bob"))
    await other.value("leave()")
    await other.enter("Eve", "elsewhere")
    await ann.until(ann.people("Ann", "Bob"))
    await ann.say("only here")
    await bob.until(bob.said("only here"))
    await other.say("alone")
    await other.until(other.said("alone"))
    assert await other.value("document.querySelectorAll('#lines .said').length") == 1
    await other.call("Page.close")

    if shots:
        await bob.say("A line that is so long that it has to be broken, also where there is muchroom" + "x" * 90)
        await ann.until(ann.said("so long"))
        await ann.shot(os.path.join(shots, "desktop.png"), 1200, 750)
        await ann.shot(os.path.join(shots, "phone.png"), 375, 700, True)
    # at a phone's width the last line is still in view, nothing sticks out, and one can write
    await ann.call("Emulation.setDeviceMetricsOverride", width=360, height=640, deviceScaleFactor=1,
                   mobile=True)
    await ann.until("innerWidth == 360")
    assert await ann.value("document.documentElement.scrollWidth") <= 360
    await ann.until("(l => l.scrollHeight - l.scrollTop - l.clientHeight < 2)(document.getElementById('lines'))")
    box = await ann.value("(b => [b.left, b.right, b.bottom])(document.querySelector('#say button')"
                          ".getBoundingClientRect())")
    assert box[0] >= 0 and box[1] <= 360 and box[2] <= 640, box
    # each field has a name for those who do not see it
    assert await ann.value("[...document.querySelectorAll('input')].every(e => e.labels.length == 1)")

    await bob.call("Page.close")
    await ann.until(ann.people("Ann"))
    return ann


async def main(program, directory, chromium, shots=None):
    server, url = start_server(program, directory)
    port = int(url.rsplit(":", 1)[1])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        child = subprocess.Popen([chromium, "--headless=new", "--no-sandbox", "--disable-gpu",
                                  "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0",
                                  "--user-data-dir=" + profile, "about:blank"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            place = os.path.join(profile, "DevToolsActivePort")
            for _ in range(1200):
                if os.path.exists(place) and open(place).read().count("\n") >= 1:
                    break
                assert child.poll() is None, "chromium has ended"
                await asyncio.sleep(0.05)
            lines = open(place).read().split("\n")
            async with websockets.connect(f"ws://127.0.0.1:{lines[0]}{lines[1]}",
                                          max_size=None) as socket:
                browser = Browser(socket)
                ann = await two_pages(browser, url, shots)
                # the server ends, with 1001, and another takes its place
                stop_server(server)
                await ann.until("document.getElementById('state').textContent == 'Reconnecting'")
                server, url = start_server(program, directory, port)
                await ann.until("document.getElementById('state').textContent == 'Connected'")
                assert not browser.errors, browser.errors
        finally:
            child.kill()
            child.wait()
            if server.poll() is None:
                stop_server(server)


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 250))
