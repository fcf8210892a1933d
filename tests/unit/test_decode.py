from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from mert_backfill.audio import decode, source
from mert_backfill.audio.decode import prepare_track, resample
from mert_backfill.audio.ffmpeg import frame_samples
from mert_backfill.audio.stream import Stream
from mert_backfill.audio.windows import find_windows
from mert_backfill.failures import TrackError
from mert_backfill.recipes import CANONICAL
from support.audio_files import OPUS, music, write_audio, write_m4a

WAV_RATE_AT, WAV_FORMAT_TAG_AT, WAV_DATA_SIZE_AT = 24, 20, 40


def expected_windows(path: Path) -> list[np.ndarray]:
    """Decode, cut and resample the long way: the whole file, with librosa."""
    import librosa

    rate = soundfile.info(path).samplerate
    y = librosa.load(path, sr=None, mono=True)[0][: 120 * rate]
    return [
        librosa.resample(
            y[int(w.start_s * rate) : int(w.end_s * rate)],
            orig_sr=rate,
            target_sr=24000,
            res_type="soxr_hq",
        )
        for w in find_windows(y, rate, CANONICAL.windows)
    ]


def failure(path: Path | str, **options: Any) -> tuple[str, str]:
    with pytest.raises(TrackError) as caught:
        prepare_track(str(path), **options)
    assert caught.value.error
    assert "\n" not in caught.value.error
    return caught.value.stage, caught.value.reason.value


@pytest.mark.parametrize(
    ("suffix", "rate", "channels", "seconds", "options"),
    [
        (".wav", 8000, 1, 3, {}),
        (".wav", 44100, 2, 3, {"subtype": "PCM_24"}),
        (".wav", 96000, 6, 2.5, {"subtype": "FLOAT"}),
        (".wav", 192000, 8, 2, {"subtype": "DOUBLE"}),
        (".wav", 11025, 2, 7, {"subtype": "PCM_U8"}),
        (".wav", 24000, 2, 3, {}),
        (".wav", 8000, 3, 200, {}),
        (".flac", 22050, 2, 119, {}),
        (".flac", 96000, 1, 3, {"subtype": "PCM_24"}),
        (".mp3", 44100, 2, 81, {}),
        (".mp3", 16000, 1, 130, {}),
        (".mp3", 24000, 2, 9, {}),
        (".ogg", 44100, 2, 5, {}),
        (".ogg", 48000, 6, 5, {}),
        (".opus", 48000, 2, 5, {}),
        (".opus", 16000, 1, 130, {}),
        (".aiff", 32000, 2, 5, {}),
        (".aif", 88200, 1, 2, {}),
    ],
)
def test_windows_equal_those_of_the_whole_file(
    tmp_path: Path, suffix: str, rate: int, channels: int, seconds: float, options: dict[str, Any]
) -> None:
    samples = music(seconds, rate, channels, silence_s=0.7)
    path = write_audio(tmp_path / f"a{suffix}", samples, rate, **options)
    prepared = prepare_track(str(path))
    expected = expected_windows(path)
    assert len(prepared.windows) == len(prepared.window_names) == len(expected)
    for window, reference in zip(prepared.windows, expected, strict=True):
        assert window.dtype == np.float32
        np.testing.assert_array_equal(window, reference)
    assert prepared.duration_s == pytest.approx(min(seconds, 120), abs=0.1)


def test_record_of_a_track(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", music(90, 8000, 1, silence_s=1), 8000)
    prepared = prepare_track(str(path))
    assert prepared.window_names == ("intro", "core", "late")
    assert [len(window) for window in prepared.windows] == [240000, 960000, 240000]
    assert (prepared.duration_s, prepared.sample_rate) == (90.0, 8000)


@pytest.mark.parametrize("rate", [7350, 8000, 11025, 12000, 44100, 47999, 48000, 96000, 192000])
@pytest.mark.parametrize("length", [1, 7, 400, 1000, 44101])
def test_resampling_is_that_of_librosa(rate: int, length: int) -> None:
    import librosa

    y = music(length / rate, rate, 1)[:, 0]
    expected = librosa.resample(y, orig_sr=rate, target_sr=24000, res_type="soxr_hq")
    np.testing.assert_array_equal(resample(y, rate), expected)


@pytest.mark.parametrize("channels", [1, 2])
def test_alac_gives_the_samples_that_went_in(tmp_path: Path, channels: int) -> None:
    samples = music(2, 24000, channels)
    path = write_m4a(tmp_path / "a.m4a", samples, 24000, codec="alac")
    expected = (np.round(samples * 32767) / 32768).astype(np.float32).mean(axis=1)
    np.testing.assert_array_equal(prepare_track(str(path)).windows[0], expected)


def test_aac_gives_nearly_the_samples_that_went_in(tmp_path: Path) -> None:
    samples = music(4, 24000, 2)
    window = prepare_track(str(write_m4a(tmp_path / "a.m4a", samples, 24000))).windows[0]
    assert 96000 <= len(window) < 96000 + 2 * 1024
    assert np.corrcoef(window[2000:94000], samples.mean(axis=1)[2000:94000])[0, 1] > 0.99


@pytest.mark.parametrize("codec", ["aac", "alac"])
def test_m4a_is_cut_at_120_seconds(tmp_path: Path, codec: str) -> None:
    path = write_m4a(tmp_path / "a.m4a", music(125, 8000, 1), 8000, codec=codec)
    prepared = prepare_track(str(path))
    assert prepared.duration_s == 120.0
    assert prepared.window_names == ("intro", "core", "late")


@pytest.mark.parametrize(
    ("sample_format", "values"),
    [
        ("u8", [[0, 64, 128, 255]]),
        ("s16", [[-32768, -16384, 0, 32512]]),
        ("s32p", [[-(2**31), -(2**30)], [0, 127 * 2**24]]),
        ("fltp", [[-1.0, -0.5], [0.0, 127 / 128]]),
        ("dbl", [[-1.0, -0.5, 0.0, 127 / 128]]),
    ],
)
def test_sample_formats_are_scaled_to_one(sample_format: str, values: list[list[float]]) -> None:
    import av

    planar = sample_format.endswith("p")
    layout = "stereo" if planar else "mono"
    dtype = {"u8": "u1", "s16": "i2", "s32p": "i4", "fltp": "f4", "dbl": "f8"}[sample_format]
    frame = av.AudioFrame.from_ndarray(np.array(values, dtype), sample_format, layout)
    found = frame_samples(frame)
    assert found.dtype == np.float32
    assert found.T.ravel().tolist() == [-1.0, -0.5, 0.0, 127 / 128]


def test_more_planes_than_can_be_read_are_refused() -> None:
    import av

    frame = av.AudioFrame("fltp", "hexadecagonal", 1024)
    with pytest.raises(ValueError, match="16 channels"):
        frame_samples(frame)


def test_hash_tells_windows_apart_but_not_containers(tmp_path: Path) -> None:
    samples = np.round(music(2) * 32767).astype(np.int16)
    wav = write_audio(tmp_path / "a.wav", samples, 44100)
    flac = write_audio(tmp_path / "b.flac", samples, 44100)
    other = write_audio(tmp_path / "c.wav", music(2, seed=1), 44100)
    hashes = [prepare_track(str(path)).pcm_sha256 for path in (wav, flac, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0]) == 64


@pytest.mark.parametrize("decoder", ["open_with_libsndfile", "open_with_ffmpeg"])
def test_reading_ends_after_120_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: str
) -> None:
    taken = 0

    def endless() -> Iterator[tuple[np.ndarray, int]]:
        nonlocal taken
        while True:
            taken += 1
            yield np.full((700, 2), 0.5, dtype=np.float32), 1000

    path = tmp_path / "a.wav"
    path.write_bytes(b"no decoder that is not replaced can read this")
    monkeypatch.setattr(decode, decoder, lambda _: nullcontext(Stream(endless())))
    assert prepare_track(str(path)).duration_s == 120.0
    assert taken == 172  # 120 s in blocks of 0.7 s


# --- content decides, not the name ---------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name"),
    [(".mp3", "a.wav"), (".wav", "a.mp3"), (".flac", "a.m4a"), (".m4a", "a.mp3"), (".ogg", "a")],
)
def test_wrong_extension(tmp_path: Path, content: str, name: str) -> None:
    made = write_audio(tmp_path / f"made{content}", music(2), 44100)
    path = made.rename(tmp_path / name)
    assert prepare_track(str(path)).duration_s == pytest.approx(2, abs=0.1)


HOSTILE_NAMES = [
    "new\nline.wav",
    "tab\t.wav",
    "'quotes\".wav",
    "-leading dash.wav",
    " spaces .wav ",
    "%d%s%%.wav",
    "a{b}[c]*?.wav",
    "$(touch x)`id`;&|.wav",
    "#hash.raw",
    "<b>&amp;.wav",
    "pipe:0",
    "http:__example.wav",
    "concat:a|b.wav",
    "\N{PARTY POPPER}.wav",
    "e\u0301.wav",
    "not utf-8 \udcff\udcfe.wav",
    "x" * 240 + ".wav",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("suffix", [".wav", ".m4a"])
def test_hostile_names(tmp_path: Path, name: str, suffix: str) -> None:
    path = write_audio(tmp_path / f"made{suffix}", music(1), 44100).rename(tmp_path / name)
    assert prepare_track(str(path)).sample_rate == 44100


def test_relative_name_that_looks_like_a_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_audio(tmp_path / "made.m4a", music(1), 44100).rename(tmp_path / "pipe:0")
    monkeypatch.chdir(tmp_path)
    assert prepare_track("pipe:0").sample_rate == 44100


# --- what is wrong with a file --------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        fifo,
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("nothing"),
        lambda path: path.symlink_to("/dev/zero"),
    ],
    ids=["nothing", "folder", "fifo", "loop", "dangling", "device"],
)
def test_file_missing(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.wav")
    assert failure(tmp_path / "a.wav") == ("stat", "file_missing")


def test_file_missing_for_impossible_names(tmp_path: Path) -> None:
    assert failure("a\0b.wav") == ("stat", "file_missing")
    assert failure(tmp_path / ("x" * 300)) == ("stat", "file_missing")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "permission_denied"),
        (errno.EPERM, "permission_denied"),
        (errno.ENOENT, "file_missing"),
        (errno.ESTALE, "io_error"),
        (errno.EIO, "io_error"),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a"])
def test_errors_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str, name: str
) -> None:
    path = write_audio(tmp_path / name, music(3), 44100)

    class FailingFile(io.FileIO):
        def readinto(self, buffer: Any, /) -> int | None:
            if self.tell() > 0:
                raise OSError(number, os.strerror(number))
            return super().readinto(memoryview(buffer)[:20000])

    class FailingRawFile(source.RawFile, FailingFile):
        pass

    with monkeypatch.context() as patch:
        patch.setattr(source, "RawFile", FailingRawFile)
        assert failure(path) == ("decode", reason)

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        caught = None
        try:
            prepare_track(str(path))
        except TrackError as error:
            caught = error
    assert caught is not None
    assert (caught.stage, caught.reason.value) == ("stat", reason)


def test_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(_: object) -> AbstractContextManager[Stream]:
        raise MemoryError

    path = write_audio(tmp_path / "a.wav", music(1), 44100)
    monkeypatch.setattr(decode, "open_with_libsndfile", hungry)
    assert failure(path) == ("decode", "out_of_memory")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    assert failure(tmp_path / "a.wav") == ("stat", "empty_file")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.mp3", b"this is no music\n" * 500),
        ("zeros.wav", bytes(50_000)),
        ("page.m4a", b"<!doctype html><html><body>404</body></html>" * 20),
        ("random.mp3", np.random.default_rng(0).bytes(50_000)),
        ("image.flac", b"\x89PNG\r\n\x1a\n" + bytes(1000)),
        ("byte.wav", b"\0"),
    ],
)
def test_not_audio(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert failure(tmp_path / name) == ("decode", "not_audio")


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{wav}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {wav}\n",
        "#!x\nmms://127.0.0.1/a\n",
    ],
)
def test_playlists_do_not_open_other_files(tmp_path: Path, content: str) -> None:
    wav = write_audio(tmp_path / "a.wav", music(1), 44100)
    path = tmp_path / "list.m4a"
    path.write_text(content.format(wav=wav))
    assert failure(path) == ("decode", "not_audio")


def test_video_without_sound(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 16
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert failure(path) == ("decode", "not_audio")


def changed_wav(path: Path, at: int, value: bytes) -> Path:
    content = bytearray(write_audio(path, music(2), 44100).read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def test_unsupported_codec(tmp_path: Path) -> None:
    path = changed_wav(tmp_path / "a.wav", WAV_FORMAT_TAG_AT, b"\x34\x12")
    assert failure(path) == ("decode", "unsupported_codec")


@pytest.mark.parametrize(
    ("suffix", "size"),
    [(".wav", 20), (".wav", 44), (".flac", 60), (".mp3", 100), (".ogg", 40), (".aiff", 30)],
)
def test_cut_in_the_header(tmp_path: Path, suffix: str, size: int) -> None:
    path = write_audio(tmp_path / f"a{suffix}", music(2), 44100)
    os.truncate(path, size)
    assert failure(path) == ("decode", "decode_error")


def test_opus_cut_in_the_header(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.opus", music(2, 48000), 48000, **OPUS)
    os.truncate(path, 60)
    assert failure(path) == ("decode", "decode_error")


def test_m4a_without_its_index(tmp_path: Path) -> None:
    path = write_m4a(tmp_path / "a.m4a", music(3), 44100)
    os.truncate(path, path.stat().st_size // 2)
    assert failure(path) == ("decode", "decode_error")


def test_id3_tag_without_music(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"ID3\x04\0\0\0\0\x08\0" + bytes(1024))
    assert failure(tmp_path / "a.mp3") == ("decode", "decode_error")


@pytest.mark.parametrize("rate", [bytes(4), b"\xff\xff\xff\x7f"])
def test_impossible_sample_rate(tmp_path: Path, rate: bytes) -> None:
    path = changed_wav(tmp_path / "a.wav", WAV_RATE_AT, rate)
    assert failure(path) == ("decode", "decode_error")


def test_whatever_a_decoder_raises_is_the_files_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> np.ndarray:
        raise IndexError("surprise")

    path = write_audio(tmp_path / "a.wav", music(1), 44100)
    monkeypatch.setattr(soxr, "resample", broken)
    assert failure(path) == ("decode", "decode_error")


@pytest.mark.parametrize(("length", "good"), [(1, False), (399, False), (400, True)])
def test_too_short(tmp_path: Path, length: int, good: bool) -> None:
    path = write_audio(tmp_path / "a.wav", np.full((length, 1), 0.5, np.float32), 24000)
    if good:
        assert len(prepare_track(str(path)).windows[0]) == length
    else:
        assert failure(path) == ("validate", "too_short")


def test_silence(tmp_path: Path) -> None:
    silent = write_audio(tmp_path / "a.wav", np.zeros((44100, 2), np.float32), 44100)
    assert failure(silent) == ("validate", "silent")
    quiet = np.full((44100, 1), 1e-7, np.float32)
    path = write_audio(tmp_path / "b.wav", quiet, 44100, subtype="FLOAT")
    assert prepare_track(str(path)).duration_s == 1.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite(tmp_path: Path, value: float) -> None:
    samples = music(1, 8000, 1)
    samples[4000] = value
    path = write_audio(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    assert failure(path) == ("validate", "non_finite")


def test_finite_numbers_that_resampling_makes_infinite(tmp_path: Path) -> None:
    samples = music(1, 8000, 1)
    samples[3000:4000] = 3e38 * np.sign(samples[3000:4000])
    path = write_audio(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    assert failure(path) == ("validate", "non_finite")


# --- damage that leaves something to embed ----------------------------------------------------


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".m4a"])
def test_cut_in_the_middle_is_embedded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".m4a":
        write_m4a(path, music(20, 48000), 48000, index_first=True)
    else:
        write_audio(path, music(20, 48000), 48000)
    os.truncate(path, path.stat().st_size * 2 // 3)
    assert 8 < prepare_track(str(path)).duration_s < 16


@pytest.mark.parametrize("size", [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)])
def test_wav_with_a_lying_size(tmp_path: Path, size: bytes) -> None:
    path = changed_wav(tmp_path / "a.wav", WAV_DATA_SIZE_AT, size)
    assert prepare_track(str(path)).duration_s == 2.0


def test_mp3_between_tags_and_garbage(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.mp3", music(3), 44100)
    plain = prepare_track(str(path))
    tag = b"ID3\x04\0\0\0\0\x08\0" + bytes(1024)
    path.write_bytes(tag + path.read_bytes() + np.random.default_rng(0).bytes(3000))
    assert prepare_track(str(path)).pcm_sha256 == plain.pcm_sha256


def test_hole_in_a_flac(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.flac", music(20), 44100)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 5000] = bytes(5000)
    path.write_bytes(content)
    assert 8 < prepare_track(str(path)).duration_s < 20
