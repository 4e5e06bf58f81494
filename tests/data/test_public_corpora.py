"""Public corpora by their names: the published rules, and what a download may lack."""

import collections
import pathlib
import shutil

import pytest
from made.corpora import (
    cremad_names,
    ravdess_paths,
    ravdess_trials,
    write_names,
)

from avemo_jax.data.corpus.protocols import (
    Protocol,
    fold_splits_of,
    read_protocols,
    write_protocols,
)
from avemo_jax.data.corpus.public.clips import find_clips
from avemo_jax.data.corpus.public.definition import read_definition

RAVDESS, CREMAD = read_definition("ravdess"), read_definition("cremad")
ORDER = "neutral calm happy sad angry fearful disgust surprised".split()


def found(corpus, root, **how):
    """The clips by name, and all lines as one text."""
    seen = find_clips(corpus, root, **how)
    return {clip.name: clip for clip in seen.clips}, "\n".join(seen.lines)


def refused(corpus, root, **how) -> str:
    with pytest.raises(ValueError, match="expected") as error:
        find_clips(corpus, root, **how)
    return str(error.value)


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory):
    """All names of RAVDESS in the folders that its archives unpack to."""
    return write_names(tmp_path_factory.mktemp("ravdess"), ravdess_paths())


@pytest.fixture(scope="module")
def cremad(tmp_path_factory):
    """All names that CREMA-D's rules allow, in the folders of its repository."""
    names = [*cremad_names()]
    paths = [f"VideoFlash/{name}.flv" for name in names]
    paths += [f"AudioWAV/{name}.wav" for name in names]
    paths += [f"AudioMP3/{name}.mp3" for name in names if name.startswith("1001")]
    return write_names(tmp_path_factory.mktemp("cremad"), paths)


def copied(root: pathlib.Path, to: pathlib.Path, pattern: str) -> pathlib.Path:
    """The files of a pattern, in the same folders."""
    paths = [str(path.relative_to(root)) for path in root.glob(pattern)]
    assert paths
    return write_names(to / "copy", paths)


# --- all names


@pytest.mark.slow
def test_every_name_of_ravdess(ravdess):
    assert sum(1 for _ in ravdess_paths()) == 7356
    clips, lines = found(RAVDESS, ravdess)
    assert len(clips) == 1440
    assert (
        "speech: 1,440 of 1,440 trials\nsong: 1,012 of 1,012 trials; not used" in lines
    )
    assert "speakers: 24 of 24\n" in lines
    assert "used of each trial: 1,440 videos with sound" in lines
    assert "left out: 1,440 videos of trials that are there otherwise" in lines
    assert "left out: 1,440 sound files of trials that are there otherwise" in lines
    assert "not used: " not in lines.replace("not used: --part", "")
    for trial in ravdess_trials("01"):
        clip = clips["01-" + "-".join(trial)]
        assert (clip.label, clip.speaker) == (ORDER[int(trial[1]) - 1], trial[-1])
        assert clip.facts["intensity"] == trial[2]
        assert clip.sound is None
        assert clip.video.parts[-3:-1] == (
            f"Video_Speech_Actor_{trial[-1]}",
            f"Actor_{trial[-1]}",
        )


@pytest.mark.release
def test_song_of_ravdess(ravdess):
    clips, lines = found(RAVDESS, ravdess, parts=["song"])
    assert len(clips) == 1012
    assert "speakers: 23 of 24; missing: 18\n" in lines
    assert {clip.label for clip in clips.values()} == set(ORDER[:6])


@pytest.mark.slow
def test_both_parts_of_ravdess(ravdess):
    clips, lines = found(RAVDESS, ravdess, parts=["all"])
    assert len(clips) == 2452
    assert "not used" not in lines


@pytest.mark.release
def test_every_name_of_cremad(cremad):
    clips, lines = found(CREMAD, cremad)
    assert sorted(clips) == sorted(cremad_names())
    classes = {"ANG": "anger", "DIS": "disgust", "FEA": "fear"}
    classes |= {"HAP": "happy", "NEU": "neutral", "SAD": "sad"}
    for name, clip in clips.items():
        actor, sentence, emotion, level = name.split("_")
        assert (clip.speaker, clip.label) == (actor, classes[emotion])
        assert (clip.facts["sentence"], clip.facts["level"]) == (sentence, level)
        assert (clip.video.suffix, clip.sound.suffix) == (".flv", ".wav")
    assert "clips: 7,462 of 7,442 trials" in lines
    assert "speakers: 91 of 91\n" in lines
    assert "left out: 82 files .mp3 where there is .wav: " in lines
    assert "1076_MTI_SAD_XX: no sound" in lines


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        (RAVDESS, "01-01-09-01-01-01-01.mp4"),  # no such emotion
        (RAVDESS, "01-01-01-01-01-01-25.mp4"),  # nor actor
        (RAVDESS, "01-01-01-01-01-01-00.mp4"),
        (RAVDESS, "04-01-01-01-01-01-01.mp4"),  # nor modality
        (RAVDESS, "01-01-01-01-01-01-01 (1).mp4"),
        (RAVDESS, "1-1-1-1-1-1-1.mp4"),
        (CREMAD, "1092_DFA_ANG_XX.flv"),
        (CREMAD, "1000_DFA_ANG_XX.flv"),
        (CREMAD, "1001_ABC_ANG_XX.flv"),
        (CREMAD, "1001_DFA_SUR_XX.flv"),
        (CREMAD, "1001_DFA_ANG.flv"),
    ],
)
def test_other_names_are_none(corpus, name, tmp_path):
    write_names(tmp_path, [name])
    assert "has no files named as those of" in refused(corpus, tmp_path)


def test_a_name_that_cremad_has_by_mistake(tmp_path):
    root = write_names(tmp_path, ["AudioWAV/1040_ITH_SAD_X.wav"])
    clips, _ = found(CREMAD, root)
    assert clips["1040_ITH_SAD_XX"].sound.name == "1040_ITH_SAD_X.wav"


# --- which file of a trial


def test_videos_without_sound_have_the_sound_files(ravdess, tmp_path):
    root = copied(ravdess, tmp_path, "Video_Speech_Actor_0[1-3]/*/02-*")
    for path in ravdess.glob("Audio_Speech*/Actor_0[12]/*"):
        write_names(root, [str(path.relative_to(ravdess))])
    clips, lines = found(RAVDESS, root)
    assert "used of each trial: 120 videos with the sound files of them" in lines
    assert "used of each trial: 60 videos\n" in lines + "\n"
    clip = clips["02-01-03-01-02-01-02"]
    assert clip.sound.name == "03-01-03-01-02-01-02.wav"
    assert clips["02-01-03-01-02-01-03"].sound is None


def test_sound_alone(ravdess, tmp_path):
    root = copied(ravdess, tmp_path, "Audio_Speech*/*/*")
    clips, lines = found(RAVDESS, root)
    assert len(clips) == 1440
    assert all(c.video is None and c.sound is not None for c in clips.values())
    assert "used of each trial: 1,440 sound files" in lines


def test_trials_without_a_video_are_left_out_where_faces_are_wanted(ravdess, tmp_path):
    root = copied(ravdess, tmp_path, "Video_Speech_Actor_01/*/01-*")
    for path in ravdess.glob("Audio_Speech*/Actor_02/*"):
        write_names(root, [str(path.relative_to(ravdess))])
    clips, lines = found(RAVDESS, root, sound_alone=False)
    assert {clip.speaker for clip in clips.values()} == {"01"}
    assert "left out: 60 sound of trials without a video" in lines


# --- downloads that are not whole


def test_copies_are_used_once_and_others_refused(tmp_path):
    """As in a download of which all files are in a second folder too."""
    name = "Actor_01/03-01-01-01-01-01-01.wav"
    root = write_names(tmp_path, [name, f"audio_speech_actors_01-24/{name}"])
    clips, lines = found(RAVDESS, root)
    assert len(clips) == 1
    assert "left out: 1 copies of files: " in lines
    (root / name).write_bytes(b"RIFF")
    message = refused(RAVDESS, root)
    assert "are of one trial and differ; expected one file of each" in message
    assert str(root / name) in message


def test_sound_that_was_taken_out_of_a_video_is_not_in_the_way(tmp_path):
    trial = "01-01-01-01-01-01"
    files = [f"a/01-{trial}.mp4", f"a/01-{trial}.wav"]
    root = write_names(tmp_path, [*files, f"b/03-{trial}.wav"])
    (root / files[1]).write_bytes(b"RIFF")
    clips, lines = found(RAVDESS, root)
    assert [clip.video.name for clip in clips.values()] == [f"01-{trial}.mp4"]
    assert "left out: 1 files of trials that have another of the kind: " in lines


def test_half_a_download(ravdess, tmp_path):
    root = copied(ravdess, tmp_path, "Video_Speech_Actor_0[1-4]/*/*")
    write_names(root, ["Video_Speech_Actor_05.zip", "notes.txt"])
    _, lines = found(RAVDESS, root)
    assert "speech: 240 of 1,440 trials" in lines
    assert "speakers: 4 of 24; missing: 05, 06, 07" in lines
    assert "not used: 1 archives: " in lines
    assert "Video_Speech_Actor_05.zip; unpack those whose files are missing" in lines


def test_renamed_folders_do_not_matter(ravdess, tmp_path):
    root = copied(ravdess, tmp_path, "Video_Speech_Actor_01/*/01-*")
    shutil.move(root / "Video_Speech_Actor_01" / "Actor_01", root / "mine")
    assert len(found(RAVDESS, root)[0]) == 60


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "only an empty folder"),
        (["Video_Speech_Actor_01.zip"], "unpack them); expected names of the form"),
        (["Video_Speech_Actor_01.zip"], "Video_Speech_Actor_01.zip"),
        (["happy/anna_1.mp4"], "correct --root, or give the files their names back"),
        (
            ["VideoFlash/1001_DFA_ANG_XX.flv"],
            "they are named as cremad's: pass --corpus",
        ),
    ],
)
def test_no_clip_at_all(names, message, tmp_path):
    assert message in refused(RAVDESS, write_names(tmp_path, names))


def test_song_that_is_not_there(ravdess, tmp_path):
    root = copied(ravdess, tmp_path, "Video_Speech_Actor_01/*/01-*")
    message = refused(RAVDESS, root, parts=["song"])
    assert "has 60 clips of RAVDESS and none of --part song" in message
    assert "no such part; expected speech, song, all" in refused(
        RAVDESS, root, parts=["sung"]
    )


def test_pointers_of_git_lfs_are_named(tmp_path):
    root = write_names(tmp_path, ["VideoFlash/1001_DFA_ANG_XX.flv"])
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (root / "VideoFlash" / "1001_DFA_ANG_XX.flv").write_text(text)
    message = refused(CREMAD, root)
    assert "1 of 1 files are pointers of Git LFS, not media" in message
    assert "git lfs pull" in message


# --- tables


def test_perceived_labels_of_cremad(tmp_path):
    names = ["1001_DFA_ANG_XX", "1001_DFA_DIS_XX", "1002_DFA_HAP_XX", "1040_ITH_SAD_X"]
    root = write_names(tmp_path, [f"AudioWAV/{name}.wav" for name in names])
    assert "no such labels; expected one of intended, perceived" in refused(
        CREMAD, root, labels="felt"
    )
    message = refused(CREMAD, root, labels="perceived")
    assert "table summaryTable.csv: none; expected one such file" in message
    folder = root / "processedResults"
    folder.mkdir()
    (folder / "summaryTable.csv").write_text(
        '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote",'
        '"MultiModalLevel"\n'
        '"1","1001_DFA_ANG_XX","A","60","D","50","N","40"\n'
        '"2","1001_DFA_DIS_XX","D","60","D","50","A:D","40:45"\n'
        '"3","1040_ITH_SAD_XX","S","60","S","50","S","40"\n'
    )
    clips, lines = found(CREMAD, root, labels="perceived")
    assert {name: clip.label for name, clip in clips.items()} == {
        "1001_DFA_ANG_XX": "neutral",
        "1040_ITH_SAD_XX": "sad",
    }
    assert "left out: 1 clips without a label or speaker (label 'A:D')" in lines
    assert "1002_DFA_HAP_XX" in lines
    voice, _ = found(CREMAD, root, labels="perceived_voice")
    assert voice["1001_DFA_ANG_XX"].label == "anger"


OWN = """
name = "kitchen"
title = "Kitchen talk"
licence = "CC0"
link = "https://example.org/kitchen"

[names]
pattern = '(?P<take>[a-z]+_\\d+)'

[speaker]
table = "people.csv"
video = "file"
column = "who"

[labels.rated]
table = "people.csv"
video = "file"
column = "mood"
[labels.rated.classes]
b = "bored"
k = "keen"

[protocols.kitchen_2]
source = "drawn"
num_folds = 2
"""


def written(tmp_path, text: str) -> str:
    (tmp_path / "own.toml").write_text(text)
    return str(tmp_path / "own.toml")


def test_a_corpus_of_ones_own_by_a_table(tmp_path):
    corpus = read_definition(written(tmp_path, OWN))
    root = write_names(tmp_path / "root", ["a/anna_1.mov", "a/anna_2.mov", "bob_1.mov"])
    rows = [
        "file,who,mood",
        "anna_1.mov,anna,k",
        "anna_2.mov,anna,b",
        "bob_1.mov,bob,b",
    ]
    (root / "people.csv").write_text("\n".join(rows) + "\n")
    clips, _ = found(corpus, root)
    told = {name: (clip.speaker, clip.label) for name, clip in clips.items()}
    assert told == {
        "anna_1": ("anna", "keen"),
        "anna_2": ("anna", "bored"),
        "bob_1": ("bob", "bored"),
    }
    assert corpus.task("rated").columns == ("bored", "keen")
    folds = corpus.protocols_of(("anna", "bob"))["kitchen_2"].folds
    assert sorted(folds) == [("anna",), ("bob",)]
    (root / "people.csv").write_text("\n".join([*rows, "bob_1.mov,bob,k"]) + "\n")
    assert "line 5, column 'mood': 'k' for 'bob_1'" in refused(corpus, root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name = ", "nam = ", "missing name, unknown nam"),
        ('"kitchen"', '"own"', "task name 'own'; expected a letter"),
        ("(?P<take>", "(?P<take", "names.pattern is no regular expression"),
        ('table = "people.csv"', 'group = "who"', "speaker.group is 'who'; expected a"),
        ('table = "people.csv"', "", "speaker has neither group and table"),
        ("num_folds = 2", "", "protocols.kitchen_2 has neither folds and num_folds"),
        (
            "num_folds = 2",
            'folds = [["anna"], ["anna", "bob"]]',
            "2 folds of 3 speakers, anna in two of them",
        ),
        ("[protocols", '[ours]\nkeen = "Joy"\n[protocols', "ours.keen is 'Joy'"),
        ("\n[names]", '\ndefault_part = "a"\n[names]', "default_part is 'a'; expected"),
        ("[names]", "[names", "own.toml: "),
        (
            'link = "https://example.org/kitchen"',
            "link = 3",
            "link is 3; expected a text",
        ),
    ],
)
def test_mistakes_in_a_definition(old, new, message, tmp_path):
    assert old in OWN
    path = written(tmp_path, OWN.replace(old, new, 1))
    with pytest.raises(ValueError, match="correct the file, or see") as error:
        read_definition(path)
    assert message in str(error.value)


def test_unknown_corpora():
    with pytest.raises(ValueError, match=r"did you mean ravdess\?.*cremad, ravdess"):
        read_definition("ravdes")


# --- folds


@pytest.mark.parametrize(
    ("corpus", "name", "sizes"),
    [
        (RAVDESS, "ravdess_5", [5, 5, 5, 5, 4]),
        (RAVDESS, "ravdess_6", [4] * 6),
        (CREMAD, "cremad_5", [19, 18, 18, 18, 18]),
        (CREMAD, "cremad_10", [10, *[9] * 9]),
    ],
)
def test_protocols_have_every_speaker_once(corpus, name, sizes):
    folds = corpus.protocols_of(())[name].folds
    assert [len(fold) for fold in folds] == sizes
    assert sorted(one for fold in folds for one in fold) == list(corpus.speakers)


def test_folds_of_ravdess_are_balanced_by_sex():
    for fold in RAVDESS.protocols_of(())["ravdess_6"].folds:
        assert sum(int(actor) % 2 for actor in fold) == 2


def test_drawn_folds_do_not_depend_on_who_was_downloaded():
    assert CREMAD.protocols_of(("1001",)) == CREMAD.protocols_of(CREMAD.speakers)


def test_splits_of_a_fold_share_no_speaker():
    protocol = RAVDESS.protocols_of(())["ravdess_5"]
    sources = {f"{'-'.join(t)}": t[-1] for t in ravdess_trials("01")}
    held = collections.Counter()
    for fold, speakers in enumerate(protocol.folds):
        splits = fold_splits_of(protocol, fold, sources)
        by_split = collections.defaultdict(set)
        for video, split in splits.items():
            by_split[split].add(sources[video])
        assert by_split["validation"] == set(speakers)
        assert len(by_split["dev"]) == (24 - len(speakers)) // 5
        assert sum(map(len, by_split.values())) == 24
        held.update(v for v, split in splits.items() if split == "validation")
    assert set(held.values()) == {1}
    assert len(held) == 1440


def test_clips_of_speakers_without_a_fold_are_in_no_split():
    protocol = Protocol((("a",), ("b", "c")), "mine")
    splits = fold_splits_of(protocol, 0, {"v": "a", "w": "b", "x": "c", "y": "d"})
    assert (splits["v"], splits["y"]) == ("validation", "none")
    assert {splits["w"], splits["x"]} == {"train", "dev"}
    with pytest.raises(ValueError, match="fold 2 of a protocol of 2; expected 0 to 1"):
        fold_splits_of(protocol, 2, {"v": "a", "w": "b"})
    with pytest.raises(ValueError, match="fold 0 has 0 videos and 2 to train by"):
        fold_splits_of(protocol, 0, {"w": "b", "x": "c"})


def test_protocols_of_a_store_are_read_as_written(tmp_path):
    assert read_protocols(tmp_path) == {}
    protocols = RAVDESS.protocols_of(())
    write_protocols(tmp_path, protocols)
    assert read_protocols(tmp_path) == protocols
    (tmp_path / "protocols.json").write_text('{"schema_version": 1}')
    with pytest.raises(ValueError, match=r"missing protocols.*prepare the store again"):
        read_protocols(tmp_path)
