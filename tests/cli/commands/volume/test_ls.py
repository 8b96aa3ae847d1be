"""`volume ls`, as a user runs it."""

import json

from sandboxfile.names import VolumeId


def test_volumes_of_every_project_are_listed_with_who_has_them(cli, make_volume, holding):
    assert cli("volume", "ls").stdout == "ID  NAME  SIZE  USED  SANDBOX\n"
    make_volume("shop/data", 3 << 30)
    make_volume("other/cache", 1 << 30)
    with holding("shop/data", "shop/web"):
        lines = [line.split() for line in cli("volume", "ls").stdout.splitlines()]
        listed = json.loads(cli("volume", "ls", "--format", "json").stdout)
    assert [line[:3] for line in lines[1:]] == [["other/cache", "cache", "1GiB"], ["shop/data", "data", "3GiB"]]
    assert [line[-1] for line in lines[1:]] == ["-", "web"]
    assert [(each["id"], each["size"], each["holder"]) for each in listed] == [
        ("other/cache", 1 << 30, None),
        ("shop/data", 3 << 30, "shop/web"),
    ]
    assert all(each["used"] > 0 for each in listed)
    assert cli("volume", "ls", "-q").stdout == "other/cache\nshop/data\n"


def test_one_whose_disk_cannot_be_read_is_listed_all_the_same(cli, layout, make_volume):
    make_volume("shop/data", 1 << 30)
    layout.volume(VolumeId("shop", "data")).disk.write_bytes(b"torn")
    assert cli("volume", "ls").stdout.splitlines()[1].split()[2] == "unreadable"
    assert json.loads(cli("volume", "ls", "--format", "json").stdout)[0]["size"] is None
