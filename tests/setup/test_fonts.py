"""What matplotlib draws powers of ten with: a missing font prints a warning into every notebook that has a log axis."""

import pytest
from matplotlib.font_manager import FontProperties, fontManager


@pytest.mark.parametrize("family", ["STIXGeneral", "cmr10", "DejaVu Sans", "DejaVu Sans Display"])
def test_matplotlib_finds_the_fonts_that_it_brings(family):
    fontManager.findfont(FontProperties(family=[family]), fallback_to_default=False)
