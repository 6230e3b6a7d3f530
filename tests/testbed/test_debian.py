"""Fetching Debian packages, with stand-ins for apt-get and dpkg."""

from pathlib import Path

import pytest

from testbed import artifacts, debian
from testbed.errors import BedError

FAKE_APT = """\
#!/bin/sh
echo "$*" >>"$FAKE_APT_LOG"
case $* in
*Dir::State::Lists=*download*) [ -z "$FAKE_NO_MIRROR" ] || exit 100 ;;
*download*) [ -n "$FAKE_HAS_LISTS" ] || exit 100 ;;
*update*) exit 0 ;;
esac
case $* in *download*) touch containerd_1_amd64.deb runc_1_amd64.deb ;; esac
"""
FAKE_DPKG = """\
#!/bin/sh
touch "$3/$(basename "$2" .deb)"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, script in (("apt-get", FAKE_APT), ("dpkg", FAKE_DPKG)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_APT_LOG", str(tmp_path / "log"))
    for user in (artifacts, debian):
        monkeypatch.setattr(user, "ARTIFACTS", tmp_path / "store")
    return tmp_path / "log"


def test_the_machines_package_lists_are_used_when_they_serve(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_HAS_LISTS", "1")
    unpacked = debian.packages()
    assert sorted(path.name for path in unpacked.iterdir()) == ["containerd_1_amd64", "runc_1_amd64"]
    assert "update" not in log.read_text()


def test_without_usable_lists_own_ones_are_fetched_and_the_machines_stay_as_they_are(log: Path) -> None:
    assert len(list(debian.packages().iterdir())) == 2
    _first, update, second = log.read_text().splitlines()
    assert update.endswith("update")
    assert all("Dir::State::Lists=" in command and "Dir::Cache=" in command for command in (update, second))


def test_a_mirror_that_refuses_leaves_nothing_half_made(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_NO_MIRROR", "1")
    with pytest.raises(BedError, match="apt cannot download containerd, runc"):
        debian.packages()
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["lock"]
    assert log.read_text().count("download") == 2


@pytest.mark.usefixtures("log")
def test_on_a_machine_without_apt_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get and dpkg missing" in str(debian.obstacle())
    with pytest.raises(BedError, match="use --kwok-nodes"):
        debian.packages()


@pytest.mark.usefixtures("log")
def test_packages_unpacked_elsewhere_need_no_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_HAS_LISTS", "1")
    unpacked = debian.packages()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.obstacle() is None
    assert debian.packages() == unpacked


def test_prometheus_is_fetched_on_its_own_and_only_when_it_is_asked_for(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real nodes do not need its 19 MB, and do not wait for them."""
    monkeypatch.setenv("FAKE_HAS_LISTS", "1")
    debian.packages()
    assert "download prometheus" not in log.read_text()
    assert debian.prometheus().parts[-2:] == ("usr", "bin")
    assert log.read_text().splitlines()[-1].endswith("download prometheus")


@pytest.mark.usefixtures("log")
def test_without_apt_there_is_no_prometheus_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BedError, match="apt-get and dpkg missing: Prometheus is taken from a Debian package"):
        debian.prometheus()
