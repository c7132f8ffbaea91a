"""What several test files of the package use."""

import pytest
import yaml

from tct_github_workflow import yaml_text


@pytest.fixture(params=["libyaml", "pure Python"])
def both_parsers(request, monkeypatch):
    if request.param == "libyaml" and not yaml.__with_libyaml__:
        pytest.skip("PyYAML was installed without libyaml")
    monkeypatch.setattr(
        yaml_text, "LOADER", yaml.CSafeLoader if request.param == "libyaml" else yaml.SafeLoader
    )
