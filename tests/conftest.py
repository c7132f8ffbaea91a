import pytest

from tests.training import Trainer, write_data


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "a")


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    trainer = Trainer(tmp_path_factory.mktemp("trainer"))
    yield trainer
    trainer.process.stdin.close()
    trainer.process.wait()
