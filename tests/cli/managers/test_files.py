"""Files of a service: known again, written whole, never taken from who changed them."""

import errno
import os
import stat
from pathlib import Path

import pytest

from asrd.cli.exits import CommandError
from asrd.cli.managers import files
from asrd.cli.managers.files import Found, ServiceFile, signed

TEXT = "[Unit]\nDescription=a service\n"


def a_file(path: Path, text: str = TEXT) -> ServiceFile:
    return ServiceFile(path=path / "a.service", text=signed(text))


def test_it_is_written_with_its_folders_for_all_to_read(tmp_path: Path) -> None:
    file = a_file(tmp_path / "one" / "two")
    assert file.look() is Found.NOTHING
    file.write()
    assert file.look() is Found.SAME
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o644
    assert [each.name for each in file.path.parent.iterdir()] == ["a.service"]


@pytest.mark.parametrize("text", [TEXT, '<?xml version="1.0"?>\n<plist/>\n'])
def test_a_file_of_another_version_is_ours(tmp_path: Path, text: str) -> None:
    a_file(tmp_path, text).write()
    assert a_file(tmp_path, text + "\n").look() is Found.OURS


def test_a_declaration_of_xml_stays_first() -> None:
    lines = signed('<?xml version="1.0"?>\n<plist/>\n').splitlines()
    assert lines[0] == '<?xml version="1.0"?>'
    assert lines[1].startswith("<!-- Written by ")
    assert lines[2] == "<plist/>"


@pytest.mark.parametrize("change", ["", "Nice=5\n", "\n"])
def test_what_was_changed_by_hand_is_told(tmp_path: Path, change: str) -> None:
    file = a_file(tmp_path)
    file.write()
    text = file.path.read_text()
    file.path.write_text(text + change if change else text.partition("\n")[2])
    assert file.look() is Found.CHANGED
    assert not files.is_ours(file.path)
    changed = [line for line in file.difference().splitlines() if line[:1] in "+-"]
    assert len(changed) > 2  # more than the two names


def test_a_link_is_not_ours(tmp_path: Path) -> None:
    """`systemctl mask` makes such a link; writing replaces the link and not its target."""
    file = a_file(tmp_path)
    target = tmp_path / "target"
    target.write_text(file.text)
    file.path.symlink_to(target)
    assert file.look() is Found.CHANGED
    file.path.unlink()
    file.path.symlink_to(os.devnull)
    assert file.look() is Found.CHANGED
    file.path.unlink()
    file.path.symlink_to(tmp_path / "nowhere")
    assert file.look() is Found.CHANGED
    file.write()
    assert not file.path.is_symlink()
    assert target.read_text() == file.text


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    file = a_file(tmp_path)
    file.path.mkdir()
    (file.path / "full").touch()
    with pytest.raises(CommandError, match="cannot write") as caught:
        file.write()
    assert caught.value.code == 74
    assert [each.name for each in tmp_path.iterdir()] == ["a.service"]


def test_without_permission_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Played, for root may write everywhere."""

    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(
        CommandError, match=r"cannot write .*: Permission denied: .*yours"
    ) as caught:
        a_file(tmp_path).write()
    assert caught.value.code == 77
    assert "--user" not in str(caught.value)  # which it was
    monkeypatch.setattr(files, "MACHINES_FOLDER", tmp_path)
    with pytest.raises(CommandError, match="run it with sudo, or with --user"):
        a_file(tmp_path).write()


def test_a_folder_of_drop_ins_goes_with_its_last(tmp_path: Path) -> None:
    folder = tmp_path / "a.service.d"
    folder.mkdir()
    for name in ("gpu.conf", "own.conf"):
        (folder / name).touch()
    files.remove(folder / "gpu.conf")
    assert folder.is_dir()
    files.remove(folder / "own.conf")
    assert not folder.exists()
    files.remove(folder / "own.conf")


@pytest.mark.timeout(10)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A FIFO would be waited for until somebody writes."""
    path = a_file(tmp_path).path
    os.mkfifo(path)
    for look in (a_file(tmp_path).look, lambda: files.read(path), lambda: files.is_ours(path)):
        with pytest.raises(CommandError, match=r"a\.service is no regular file: remove") as caught:
            look()
        assert caught.value.code == 78
    (tmp_path / "b").mkdir()
    with pytest.raises(CommandError, match="is no regular file"):
        files.read(tmp_path / "b")
    link = tmp_path / "link"
    link.symlink_to(path)
    assert files.read(link) == ""


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * (files.MAX_FILE_BYTES + 5))
    assert len(files.read(path) or "") == files.MAX_FILE_BYTES
