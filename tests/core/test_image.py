from tests.core.made import base_layer, digest, fixup_layer, image_of, layer_of, record_of


def test_records_are_those_of_layers_and_those_without_one():
    layer, dropped = layer_of(1), record_of(2)
    assert set(image_of(layer, fixup_layer(1), dropped=(dropped,)).records) == {layer.record.id, dropped.id}


def test_the_base_is_that_of_the_base_layers():
    assert image_of(base_layer(1, digest(9)), layer_of(1)).base == digest(9)
    assert image_of(layer_of(1)).base is None


def test_the_view_tells_stacks_of_layers_apart():
    one, two, fix, base = layer_of(1), layer_of(2), fixup_layer(1), base_layer(1, digest(9))
    images = [
        image_of(),
        image_of(one),
        image_of(one, two),
        image_of(two, one),
        image_of(one, fix),
        image_of(base, one),
        image_of(base._replace(base=digest(8)), one),
        image_of(one, dropped=(two.record,)),
        image_of(one._replace(record=record_of(1, lane="b"))),
        image_of(one._replace(diff_id=digest(7))),
    ]
    assert len({image.view for image in images}) == len(images)


def test_the_view_does_not_know_how_layers_are_encoded():
    layer = layer_of(1)
    again = layer._replace(digest=digest(7), size=1, encoding=None, media_type="x", toc=b"x")
    assert image_of(again, target="other", lane="b").view == image_of(layer).view
