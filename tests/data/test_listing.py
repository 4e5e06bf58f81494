from avemo_jax.data.listing import first_of, said_of_many

BEYOND = "{} frames are shown over 1.5 s before the first or after the last sound"


def test_equal_notes_of_many_videos_are_one_line():
    notes = {f"v{i:03}": ("no sound track",) for i in range(408)}
    notes["v007"] += ("the first of 2 sound tracks",)
    assert said_of_many(notes) == [
        "no sound track: v000, v001, v002, v003, v004, ... (408 videos)",
        "the first of 2 sound tracks: v007",
    ]


def test_notes_that_differ_in_numbers_alone_are_one_line():
    notes = {f"v{i:03}": (BEYOND.format(12 + i),) for i in range(408)}
    notes["w"] = ("4.00 s of sound to 6.54 s of pictures",)
    notes["x"] = ("4.00 s of sound to 10 s of pictures",)
    assert said_of_many(notes) == [
        f"{BEYOND.format(12)} (others with other numbers): v000, v001, v002, v003, "
        "v004, ... (408 videos)",
        "4.00 s of sound to 6.54 s of pictures (others with other numbers): w, x",
    ]


def test_few_names_are_all_told_and_a_video_once():
    notes = {"b": ("3 parts", "4 parts"), "a": ("3 parts",), "c": ()}
    assert said_of_many(notes) == ["3 parts (others with other numbers): a, b"]
    assert said_of_many({"b": ("x",), "a": ("x",)}) == ["x: a, b"]
    assert said_of_many({}) == []
    assert first_of(["a", "b", "c"], 2) == "a, b, ..."
