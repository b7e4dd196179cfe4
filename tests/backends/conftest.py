import pytest
from engines import engine

from memctl.backends.protocol import Backend


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    return engine(request.param)
