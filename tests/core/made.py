"""Records, layers and images with as little as a test has to say."""

from agent.core.image.image import Encoding, Image, Layer
from agent.core.layers.whiteouts import whiteouts
from agent.core.model.change import Kept, Listed
from agent.core.model.entry import Context, Write
from agent.core.model.record import Record
from agent.core.model.tar_item import Linked, Placed, Whiteout
from agent.core.spelling.digest import Digest

ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"


def digest(number):
    return Digest(f"sha256:{number:064x}")


def record_of(number, parents=(), *, lane="a", attempt=None, stamp=None, base=None, target="main"):
    """A record whose stamp is `number` unless said otherwise."""
    return Record(
        target=target,
        parents=tuple(sorted(parents)),
        lane=lane,
        attempt=attempt,
        stamp=stamp or number,
        base=base,
        diff_id=digest(1000 + number),
        toc=f"{number:064x}",
    )


def layer_of(number, parents=(), *, toc=None, encoded=True, blob=None, **record):
    """A change's layer."""
    change = record_of(number, parents, **record)
    blob = blob or digest(2000 + number)
    encoding = Encoding(blob, change.diff_id, 10, 20, f"{number:064x}") if encoded else None
    return Layer(ZSTD, blob, 30, change.diff_id, "change", change, None, encoding, toc)


def base_layer(number, base):
    return Layer(ZSTD, digest(3000 + number), 30, digest(4000 + number), "base", base=base)


def fixup_layer(number):
    return Layer(ZSTD, digest(5000 + number), 30, digest(6000 + number), "fixup")


def image_of(*layers, **more):
    return Image(layers=layers, **{"target": "main", **more})


def tar_items(entries):
    """What the tar of a change or a squash holds, in its order; `entries` are iterated twice."""
    for path in whiteouts(entries):
        yield Whiteout(path)
    first = {}
    for entry in entries:
        if isinstance(entry, Write | Context | Kept):
            to = first.setdefault(entry.group, entry.path) if entry.group else entry.path
            if to != entry.path:
                yield Linked(entry.path, to, entry.offset)
            else:
                yield Placed(entry.path, entry.node, entry.offset)
        elif isinstance(entry, Listed) and entry.placed:
            yield Placed(entry.path, entry.node, entry.offset)
