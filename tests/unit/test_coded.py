"""Text between backticks is code on a page, and never markup."""

from __future__ import annotations

import pytest
from django.utils.safestring import mark_safe

from experiments.templatetags.coded import coded


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Start `make run`, or `celery beat`.", "Start <code>make run</code>, or <code>celery beat</code>."),
        ("by ``du``", "by <code>du</code>"),
        ("a lone ` stays", "a lone ` stays"),
        ("not `over\nlines`", "not `over\nlines`"),
        ("`<b>` & <i>", "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"),
        ("``", "``"),
        (mark_safe("<br>`x`"), "<br><code>x</code>"),
    ],
)
def test_backticks_become_code(text: str, html: str) -> None:
    assert coded(text) == html
