"""Each test of structured clone that takes `codec` runs with every implementation there is."""

import pytest

from tests.support.clones import CODECS, Codec


@pytest.fixture(params=[pytest.param(codec, id=codec.name) for codec in CODECS])
def codec(request: pytest.FixtureRequest) -> Codec:
    """One implementation of structured clone."""
    found: Codec = request.param
    return found
