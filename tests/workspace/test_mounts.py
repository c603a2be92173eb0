from agent.workspace.filesystem.clock_granularity import (
    COARSE_TICK_NS,
    LOCAL_TICK_NS,
    Mount,
    parse_mounts,
    read_mounts,
    tick,
)

LINES = b"""\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 27 0:40 / /work\\040space rw shared:7 master:2 - nfs4 server:/x rw
32 27 0:41 / /home rw - fuse.sshfs host:/ rw
33 27 254:0 /a\\040part /bound rw - ext4 /dev/vda rw
a line that makes no sense
"""


def test_optional_fields_and_escaped_spaces_are_understood() -> None:
    assert parse_mounts(LINES) == [
        Mount((254, 0), b"/", "ext4"),
        Mount((0, 40), b"/work space", "nfs4"),
        Mount((0, 41), b"/home", "fuse.sshfs"),
        Mount((254, 0), b"/bound", "ext4", b"/a part"),
    ]


def test_servers_tick_slower_than_disks() -> None:
    mounts = parse_mounts(LINES)
    assert tick(mounts, (254, 0), b"/srv/data") == LOCAL_TICK_NS
    assert tick(mounts, (0, 40), b"/work space/a") == COARSE_TICK_NS
    assert tick(mounts, (0, 41), b"/home/a") == COARSE_TICK_NS


def test_the_coarsest_mount_inside_counts() -> None:
    mounts = [Mount((1, 0), b"/", "ext4"), Mount((0, 9), b"/w/inner", "cifs")]
    assert tick(mounts, (1, 0), b"/w") == COARSE_TICK_NS
    assert tick(mounts, (1, 0), b"/w2") == LOCAL_TICK_NS


def test_a_device_that_is_not_listed_is_looked_up_by_name() -> None:
    mounts = [Mount((1, 0), b"/", "ext4"), Mount((0, 9), b"/net", "ceph"), Mount((0, 10), b"/net/fast", "tmpfs")]
    assert tick(mounts, (0, 99), b"/x") == LOCAL_TICK_NS
    assert tick(mounts, (0, 99), b"/net/x") == COARSE_TICK_NS
    assert tick(mounts, (0, 99), b"/net/fast/x") == LOCAL_TICK_NS


def test_nothing_known_is_taken_for_slow() -> None:
    assert tick([], (1, 0), b"/w") == COARSE_TICK_NS
    assert tick([Mount((1, 0), b"/", "newfs")], (1, 0), b"/w") == COARSE_TICK_NS


def test_this_machine_has_a_root_mount() -> None:
    assert b"/" in [mount.point for mount in read_mounts()]
