"""The page in a real browser: opened from the disk, by mouse, by keys, by axe-core."""

import dataclasses
import pathlib

import numpy as np
import pytest
from made.browsing import opened, settled
from made.drawn_faces import acted, write_acted_video
from made.predicted import made_face, made_predicted
from made.videos import brightness, encode
from PIL import Image

from avemo_jax.prediction.page.page_file import write_page
from avemo_jax.tasks import EXPR, own_task

COUNT = 41  # frames that differ in brightness
FOCUSED = "[document.activeElement].map(one => one.id || one.className)[0]"
HOSTILE = """"><img src=x onerror=document.title='run'><script>document.title='run'"""
WIDEST = (
    "Math.max(...[...document.querySelectorAll('.uplot canvas')].map(c => c.width))"
)


def page_at(predicted, folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_page(predicted, folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def acting(tmp_path_factory) -> pathlib.Path:
    """The page of a video of two faces."""
    root = tmp_path_factory.mktemp("acting")
    path = root / "a 100 % video #1.mp4"
    predicted = write_acted_video(path, acted(250, 2, size=(320, 180)), every=5)
    return page_at(predicted, root / "out" / "acting")


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> pathlib.Path:
    """The page of a video whose frames tell their number, not all shown alike long."""
    root = tmp_path_factory.mktemp("numbered")
    stamps = np.cumsum([0, *([40, 40, 90] * 14)])[:COUNT].tolist()
    # Without pictures out of order: Chromium takes the times between those for how long
    # each is shown, and where these vary it may stop at the picture before.
    options = {"g": "30", "crf": "10", "bf": "0"}
    path = encode(
        root / "a.mp4", "libx264", stamps=stamps, options=options, size=(320, 180)
    )
    face = made_face(1, 1, COUNT)
    predicted = made_predicted(
        COUNT, [face], path=path, times_s=np.array(stamps) / 1000, width=320, height=180
    )
    return page_at(predicted, root / "out")


def frame_of(page) -> int:
    return int(page.get_attribute("[role=slider]", "aria-valuenow"))


def seen_frame(page, tmp_path) -> int:
    """The number of the frame that the video shows, by how bright it is."""
    page.wait_for_function("() => !document.querySelector('video').seeking")
    settled(page)
    shot = tmp_path / "shot.png"
    page.evaluate("document.querySelector('.boxes').style.visibility = 'hidden'")
    page.locator("video").screenshot(path=shot)
    with Image.open(shot) as image:
        middle = np.asarray(image.convert("L"), float)
    height, width = middle.shape
    bright = middle[height // 3 : -height // 3, width // 3 : -width // 3].mean()
    known = np.array([brightness(number) for number in range(COUNT)])
    return int(np.abs(known - bright).argmin()) + 1


def plot_of(page) -> dict:
    return page.locator(".overlay").bounding_box()


def test_a_click_on_a_curve_shows_that_frame(browser, numbered, tmp_path):
    with opened(browser, numbered) as page:
        page.wait_for_function("() => document.querySelector('video').readyState >= 2")
        times = np.cumsum([0, *([40, 40, 90] * 14)])[:COUNT] / 1000
        end = times[-1] + 0.04
        plot = plot_of(page)
        for number in (30, 2, 41, 17):
            until = end if number == COUNT else times[number]
            share = (times[number - 1] + until) / 2 / end
            page.mouse.click(plot["x"] + share * plot["width"], plot["y"] + 60)
            settled(page)
            assert abs(frame_of(page) - number) <= 1
            assert seen_frame(page, tmp_path) == frame_of(page)


@pytest.mark.slow
def test_keys_do_what_the_help_says(browser, numbered, tmp_path):
    with opened(browser, numbered) as page:
        page.wait_for_function("() => document.querySelector('video').readyState >= 2")
        for keys, expected in (
            (["Home", "ArrowRight", "ArrowRight"], 3),
            (["ArrowLeft"], 2),
            (["Shift+ArrowRight"], 19),  # 1.02 s, the last before 0.04 s + 1 s
            (["End"], COUNT),
            (["Shift+ArrowLeft"], 23),  # 1.23 s, the last before 2.25 s - 1 s
        ):
            for key in keys:
                page.keyboard.press(key)
            settled(page)
            assert frame_of(page) == expected
            assert seen_frame(page, tmp_path) == expected
        page.keyboard.press("Home")
        page.keyboard.press("Space")
        page.wait_for_function(
            "() => document.querySelector('[role=slider]').ariaValueNow > 10"
        )
        page.keyboard.press("Space")
        settled(page)
        assert page.evaluate("document.querySelector('video').paused")
        page.wait_for_timeout(150)
        assert seen_frame(page, tmp_path) == frame_of(page)
        page.keyboard.press("?")
        assert page.locator("dialog#help").is_visible()
        page.keyboard.press("Escape")
        assert not page.locator("dialog#help").is_visible()
        before = page.locator(".toolbar .span").inner_text()
        page.keyboard.press("+")
        settled(page)
        assert page.locator(".toolbar .span").inner_text() != before
        page.keyboard.press("0")
        settled(page)
        assert page.locator(".toolbar .span").inner_text() == before


@pytest.mark.slow
def test_faces_have_tabs_and_keys(browser, acting):
    with opened(browser, acting) as page:
        tabs = page.get_by_role("tab")
        assert tabs.count() == 2
        page.keyboard.press("2")
        settled(page)
        assert tabs.nth(1).get_attribute("aria-selected") == "true"
        tabs.nth(1).focus()
        page.keyboard.press("ArrowLeft")
        settled(page)
        assert tabs.nth(0).get_attribute("aria-selected") == "true"
        # Everything that can be done is reached by the tab key, each with a name.
        names = []
        page.locator("body").focus()
        for _ in range(60):
            page.keyboard.press("Tab")
            names.append(page.evaluate(FOCUSED))
        for wanted in ("face-1", "play", "handle", "still"):
            assert wanted in names, names


@pytest.mark.slow
def test_moments_and_addresses_lead_to_their_frames(browser, acting):
    with opened(browser, acting, fragment="face=2&time=3") as page:
        settled(page)
        assert frame_of(page) == 76
        assert page.get_by_role("tab").nth(1).get_attribute("aria-selected") == "true"
        still = page.locator("#moments .still").first
        at = still.locator("span").inner_text().split(" ")[0]
        still.click()
        settled(page)
        minutes, seconds = at.split(":")
        time_s = 60 * int(minutes) + float(seconds)
        assert abs((frame_of(page) - 1) / 25 - time_s) <= 0.06


@pytest.mark.slow
def test_dragging_zooms_and_a_double_click_ends_it(browser, acting):
    with opened(browser, acting) as page:
        plot = plot_of(page)
        y = plot["y"] + 80
        page.mouse.move(plot["x"] + 0.2 * plot["width"], y)
        page.mouse.down()
        page.mouse.move(plot["x"] + 0.5 * plot["width"], y, steps=3)
        page.mouse.up()
        settled(page)
        assert page.locator(".toolbar .span").inner_text() == "0:02.0 to 0:05.0"
        assert page.locator(".tip").is_visible()
        page.mouse.dblclick(plot["x"] + 0.5 * plot["width"], y)
        settled(page)
        assert page.locator(".toolbar .span").inner_text() == "0:00.0 to 0:10.0"


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        (400, False),
        pytest.param(1440, True, marks=pytest.mark.slow),
        *(
            pytest.param(*case, marks=pytest.mark.release)
            for case in ((400, True), (900, False), (900, True), (1440, False))
        ),
    ],
)
def test_every_width_is_readable(browser, acting, width, dark):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(browser, acting, width=width, dark=dark) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(17, 22, 27)") is dark
        faults = [
            f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:200]}"
            for one in axe.run(page).response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert not faults


@pytest.mark.release
def test_it_prints_on_two_pages(browser, acting):
    with opened(browser, acting, dark=True) as page:
        pdf = page.pdf(prefer_css_page_size=True)
        assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") == 2


@pytest.mark.slow
def test_what_browsers_do_not_play_is_shown_as_pictures(browser, tmp_path):
    predicted = write_acted_video(
        tmp_path / "a.mp4", acted(100, size=(320, 180)), "libx265", every=5
    )
    with opened(browser, page_at(predicted, tmp_path / "out")) as page:
        note = page.locator("#player-note").inner_text()
        assert "HEVC" in note
        assert "ffmpeg -i" in note
        assert page.locator("#screen img").is_visible()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        page.wait_for_function(
            "() => document.querySelector('[role=slider]').ariaValueNow > 20"
        )


@pytest.mark.slow
def test_a_video_that_has_moved_can_be_chosen(browser, acting, tmp_path):
    path = tmp_path / "page.html"
    path.write_bytes(acting.read_bytes())
    with opened(browser, path, allowed="ERR_FILE_NOT_FOUND") as page:
        page.wait_for_selector("#pick-file")
        assert "cannot be played" in page.locator("#player-note").inner_text()
        assert page.locator("#screen img").is_visible()
        (video,) = acting.parents[2].glob("*.mp4")
        page.set_input_files("#pick-file", video)
        page.wait_for_selector("#screen video")
        page.wait_for_function("() => document.querySelector('video').readyState >= 2")
        assert page.locator("#player-note").is_hidden()


CASES = {
    "no face": lambda: made_predicted(30),
    "no scores": lambda: made_predicted(30, [made_face(1, 1, 30, lost=range(1, 31))]),
    "one frame": lambda: made_predicted(1, [made_face(1, 1, 1)]),
    "twelve faces": lambda: acted(60, 12),
    "a part": lambda: dataclasses.replace(
        made_predicted(30, [made_face(1, 51, 80)]),
        first_frame=51,
        times_s=2 + np.arange(30) / 25,
    ),
}


@pytest.mark.release
@pytest.mark.parametrize("case", CASES)
def test_inputs_of_any_kind_have_a_page(browser, tmp_path, case):
    with opened(
        browser, page_at(CASES[case](), tmp_path), allowed="ERR_FILE_NOT_FOUND"
    ) as page:
        assert page.locator("#failure").is_hidden()


@pytest.mark.slow
def test_own_tasks_and_images_have_a_page(browser, tmp_path):
    file = tmp_path / "a.png"
    Image.new("RGB", (640, 360), "grey").save(file)
    tasks = (
        own_task("mood", "multiclass", ("calm", "<b>tense</b>")),
        own_task("pose", "multilabel", ("turned", "AU45")),
        own_task("pain", "regression", ("pain",), (0.0, 10.0)),
        EXPR.with_columns([*EXPR.columns[:-1], "Contempt"]),
    )
    faces = [made_face(1, 1, 1, tasks), made_face(2, 1, 1, tasks)]
    image = made_predicted(1, faces, tasks, files=(file,), path=file, fps=0.0)
    with opened(browser, page_at(image, tmp_path / "image")) as page:
        assert page.locator("#tracks").is_hidden()
        assert page.locator("#now").get_by_text("<b>tense</b>").is_visible()
        assert page.locator("#now").get_by_text("Contempt").is_visible()
    faces = [made_face(1, 1, 60, tasks, spread=("pain",))]
    video = made_predicted(60, faces, tasks, with_spread=("pain",))
    with opened(
        browser, page_at(video, tmp_path / "video"), allowed="ERR_FILE_NOT_FOUND"
    ) as page:
        titles = page.locator(".track-title h3").all_inner_texts()
        assert set(titles) == {"mood", "pose", "pain", "Expressions"}
        assert page.locator(".uplot").count() == 1


def test_a_hostile_name_runs_nothing(browser, tmp_path):
    name = f"{HOSTILE}</script>"
    predicted = made_predicted(
        30,
        [made_face(1, 1, 30)],
        name=name,
        notes=(name,),
        path=pathlib.Path(tmp_path / "<script>alert(1)<script>.mp4"),
    )
    with opened(
        browser,
        page_at(predicted, tmp_path / "out"),
        allowed="ERR_FILE_NOT_FOUND|Content Security Policy",
    ) as page:
        assert page.locator("h1").inner_text() == name
        page.wait_for_timeout(50)
        assert page.title().endswith("- avemo")
        # Even if one came in, the page's policy would not let it run.
        page.evaluate(
            "html => document.body.insertAdjacentHTML('beforeend', html)", name
        )
        page.wait_for_timeout(50)
        assert page.title().endswith("- avemo")


@pytest.mark.slow
def test_two_hours_are_drawn_from_what_the_page_holds(browser, tmp_path):
    predicted = acted(60_000, 1, spread=False)
    times_s = np.arange(60_000) * 0.12  # two hours
    predicted = dataclasses.replace(predicted, times_s=times_s)
    path = page_at(predicted, tmp_path)
    assert path.stat().st_size < 3_000_000
    with opened(browser, path, allowed="ERR_FILE_NOT_FOUND") as page:
        points = page.evaluate(WIDEST)
        assert 100 < points < 4000
        page.keyboard.press("+")
        settled(page)
        assert page.locator(".toolbar .span").inner_text().endswith("1:00:00.0")
