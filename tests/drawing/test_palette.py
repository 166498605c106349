from custom.drawing.palette import CLASS_COLOURS, class_colour


def test_further_classes_take_the_colours_again():
    count = len(CLASS_COLOURS)
    assert [class_colour(index) for index in range(1, 2 * count + 1)] == [*CLASS_COLOURS, *CLASS_COLOURS]
