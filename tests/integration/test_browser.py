"""Pages in a real browser."""

from collections.abc import Callable

import pytest
from browser import NEEDED, Tab, chromium


def test_without_a_browser_tests_are_skipped_but_fail_where_one_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(NEEDED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="chromium is not installed"), chromium():
        pass
    monkeypatch.setenv(NEEDED, "1")
    with (
        pytest.raises(pytest.fail.Exception, match=f"not installed.*{NEEDED} is set"),
        chromium(),
    ):
        pass


def test_a_tab_reports_errors_and_never_leaves_this_machine(tab: Callable[..., Tab]) -> None:
    opened = tab(width=360, dark=True)
    opened.page.set_content(
        "<img src='http://example.org/a.png'><script>console.error('lost'); throw 'hay'</script>"
    )
    opened.page.wait_for_load_state()
    assert opened.outside == ["http://example.org/a.png"]
    assert {"lost", "hay"} <= set(opened.complaints)
    assert opened.page.evaluate("innerWidth") == 360
    assert opened.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
