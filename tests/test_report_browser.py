"""A report in a real browser, without a display and without a network: it renders, and a click shows a trajectory."""

import contextlib
import json
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import gradflow as gf
from gradflow import html

BROWSERS, DRIVERS = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)
SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1200,1000",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
MODEL = "return Bokeh.documents[0].get_model_by_name(arguments[0]).data"
SIDE = 8
WELLS = ((-2.0, 2.0), (-2.0, 2.0))
SECONDS = 60
"""Patience with a browser on a busy machine."""


def found(names):
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser():
    binary, driver = found(BROWSERS), found(DRIVERS)
    if binary is None or driver is None:
        pytest.skip(f"needs chromium and its driver, on Debian the packages chromium and chromium-driver: "
                    f"{binary or 'no browser'}, {driver or 'no driver'}")  # fmt: skip
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(driver, env=os.environ | {"LANG": "C.UTF-8"})
    try:
        opened = webdriver.Chrome(options=options, service=service)
    except WebDriverException as error:
        pytest.skip(f"chromium is there and does not start: {(error.msg or '').splitlines()[:1]}")
    yield opened
    with contextlib.suppress(WebDriverException):
        opened.quit()
    service.stop()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The report of an estimate for the double well, whose trajectories are known."""
    flow = gf.GradientFlow(gf.Landscape(lambda p: jnp.sum(p**4 / 4 - p**2 / 2), name="</script><b>wells</b>"))
    box = gf.samplers.Box(-2.0, 2.0, like=2)
    known = {"<b id='evil'>north-east</b></script>": np.array([1.0, 1.0])}
    estimate = gf.estimate_basins(flow, box, 0, 64, num_rechecked=0, known=known, progress=False)
    place = tmp_path_factory.mktemp("report") / "report.html"
    return html.write_report(estimate, place, resolution=SIDE)


@pytest.fixture(scope="module")
def page(browser, path):
    """The opened page, its scripts having run, and all that the browser logged while it was opened."""
    browser.get(path.as_uri())
    WebDriverWait(browser, SECONDS).until(lambda b: "interactive" in b.execute_script(
        "return document.documentElement.className"))  # fmt: skip
    WebDriverWait(browser, SECONDS).until(lambda b: plot(b).size["height"] > 100)
    return browser


def plot(browser):
    return browser.find_element(By.CSS_SELECTOR, ".explorer .bk-Figure")


def click(browser, x, y):
    """Clicks on the point (x, y) of the plot's axes; returns where that was, as the page says it."""
    place = browser.execute_script(
        "const view = Bokeh.index.roots[0], frame = view.frame, box = view.el.getBoundingClientRect();"
        "return [box.left + frame.bbox.left + view.frame.x_scale.compute(arguments[0]) - frame.bbox.left,"
        " box.top + view.frame.y_scale.compute(arguments[1])];", x, y,
    )  # fmt: skip
    ActionChains(browser).move_by_offset(0, 0).perform()
    actions = ActionChains(browser)
    actions.w3c_actions.pointer_action.move_to_location(*map(round, place))
    actions.w3c_actions.pointer_action.click()
    actions.perform()
    WebDriverWait(browser, SECONDS).until(lambda b: len(b.execute_script(MODEL, "path")["x"]) > 0)
    return {row.get_attribute("id"): row.text for row in browser.find_elements(By.CSS_SELECTOR, ".said td, .said p")}


def test_the_page_renders_with_one_document_and_gives_up_its_still_pictures(page):
    assert page.execute_script("return Bokeh.documents.length") == 1
    assert "Basins of attraction" in page.title
    assert plot(page).size["width"] > 300
    assert not page.find_element(By.CSS_SELECTOR, ".still").is_displayed()
    widths = page.execute_script("return [...document.images].map((image) => image.naturalWidth)")
    assert len(widths) > 2 and min(widths) > 0
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_a_click_shows_the_nearest_computed_trajectory_and_says_so(page):
    page.execute_script("arguments[0].scrollIntoView()", plot(page))
    assert page.execute_script(MODEL, "path")["x"] == []
    assert not page.find_element(By.ID, "said-all").is_displayed()
    said = click(page, 1.3, -0.4)
    path = {name: np.array(values) for name, values in page.execute_script(MODEL, "path").items()}
    start = np.array([1.25, -0.25])  # of cells with centres -1.75, -1.25, ..., 1.75, the nearest
    np.testing.assert_allclose([path["x"][0], path["y"][0]], start)
    decay = np.exp(-path["t"])[:, None]
    exact = start / np.sqrt(decay**2 + start**2 * (1 - decay**2))
    np.testing.assert_allclose(np.stack([path["x"], path["y"]], axis=1), exact, atol=2e-5)
    assert "nearest" in said["said-how"] and "nothing is interpolated" in said["said-how"]
    assert said["said-start"].startswith("(1.25, -0.25)")
    assert "at (1, -1)" in said["said-limit"] and "t = " not in said["said-limit"]
    times = page.execute_script(MODEL, "marks")["text"]
    assert len(times) > 0 and all(text.startswith("t = ") for text in times)


def test_another_click_replaces_the_trajectory_and_names_are_only_text(page):
    before = page.execute_script(MODEL, "path")
    said = click(page, 1.2, 1.3)
    assert page.execute_script(MODEL, "path") != before
    assert "<b id='evil'>north-east</b></script>" in said["said-limit"]
    assert page.find_elements(By.ID, "evil") == []


def test_without_scripts_the_page_shows_still_pictures(browser, path, page):
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.get(path.as_uri())
        assert page.find_element(By.CSS_SELECTOR, ".still img").is_displayed()
        assert page.find_element(By.CSS_SELECTOR, ".explorer").size["height"] == 0
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_nothing_was_asked_of_a_network_and_the_console_has_no_error(page):
    """Last: the logs hold all that the tests before have done."""
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 0
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
    console = page.get_log("browser")
    assert [entry for entry in console if entry["level"] not in ("INFO", "DEBUG")] == []
    assert any("bokeh" in entry["message"] for entry in console)
