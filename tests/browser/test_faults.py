"""The other tests fail where a page or the server has a fault: here are some."""


def test_faults_of_a_page_are_found(tab, faults):
    tab.open("p=0.5")
    tab.page.evaluate("console.error('one')")
    tab.page.evaluate("setTimeout(() => { throw new Error('two'); })")
    tab.page.evaluate("fetch('/three')")
    tab.page.evaluate("fetch('http://127.0.0.1:9/four').catch(() => null)")  # the policy forbids it
    tab.page.wait_for_timeout(200)
    found, faults[:] = "\n".join(faults), []
    for fault in ("console: one", "error: two", f"404: {tab.own}/three", "http://127.0.0.1:9/four"):
        assert fault in found


def test_page_asks_for_nothing_without_its_token(opened):
    with opened() as tab, tab.refused(403):
        tab.page.goto(tab.own)
        assert "token" in tab.page.inner_text("body")
