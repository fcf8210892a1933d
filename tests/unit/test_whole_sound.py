"""What goes into a vector is the first 120 s, or as much as the file has; else it is told."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mert_backfill.audio import decode
from mert_backfill.audio.decode import prepare_track
from mert_backfill.audio.pool import DecoderPool
from mert_backfill.audio.prepared import DecodeResult, PreparedTrack
from mert_backfill.failures import TrackError
from support.audio_files import (
    SOUNDFILE_OPTIONS,
    ape_tag,
    dsf,
    encode,
    encode_streams,
    id3_tag,
    mp3,
    music,
    sound_bytes,
    write_hours,
    write_m4a,
)

RATE = 44100


def prepared(folder: Path, content: bytes, name: str = "a") -> PreparedTrack:
    path = folder / name
    path.write_bytes(content)
    return prepare_track(str(path))


def failure(folder: Path, content: bytes) -> tuple[str, str]:
    with pytest.raises(TrackError) as caught:
        prepared(folder, content)
    return caught.value.reason.value, caught.value.error


def tone(seconds: float, hz: float = 500, rate: int = RATE, channels: int = 1) -> np.ndarray:
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(times))
    y = 0.3 * np.sin(2 * np.pi * hz * times) + 0.01 * noise
    return np.repeat(y[:, None], channels, axis=1).astype(np.float32)


def m4a(seconds: float) -> bytes:
    """Return an AAC file whose index comes before its sound."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_m4a(Path(folder, "a.m4a"), tone(seconds), RATE, index_first=True)
        return path.read_bytes()


def loudest_hz(y: np.ndarray) -> float:
    """Return the loudest frequency of samples at 24 kHz."""
    return float(np.argmax(np.abs(np.fft.rfft(y))) * 24000 / len(y))


# --- a decoder that stops before the end: the other is asked ----------------------------------


def with_frame_count(content: bytes, count: int) -> bytes:
    """Return an mp3 whose Info tag counts `count` frames."""
    at = max(content.find(b"Info"), content.find(b"Xing")) + 8
    return content[:at] + struct.pack(">I", count) + content[at + 4 :]


def with_hole(content: bytes, at: float, filling: bytes) -> bytes:
    start = int(at * len(content))
    return content[:start] + filling + content[start + len(filling) :]


def flipped(content: bytes, at: float) -> bytes:
    changed = bytearray(content)
    changed[int(at * len(changed))] ^= 255
    return bytes(changed)


NOISE = np.random.default_rng(1).bytes(4096)
STOPPING: dict[str, Callable[[], bytes]] = {
    "mp3 whose tag counts too few frames": lambda: with_frame_count(mp3(tone(10)), 40),
    "joined mp3": lambda: mp3(tone(1, 330)) + mp3(tone(9)),
    "mp3 with a hole": lambda: with_hole(mp3(tone(10)), 0.3, bytes(4096)),
    "mp3 with noise": lambda: with_hole(mp3(tone(10)), 0.3, NOISE),
    "mp3 of two bit rates, no tag": lambda: (
        mp3(tone(1), bit_rate=320_000, tag=False) + mp3(tone(9), bit_rate=64_000, tag=False)
    ),
    "mp3 of two rates": lambda: (
        mp3(tone(1, rate=22050), 22050, tag=False) + mp3(tone(9), tag=False)
    ),
    "mp3 of mono and stereo": lambda: mp3(tone(1), tag=False) + mp3(tone(9, channels=2), tag=False),
    "FLAC with a flipped byte": lambda: flipped(sound_bytes(tone(10), RATE, ".flac"), 0.3),
    "joined FLAC": lambda: (
        sound_bytes(tone(1), RATE, ".flac") + sound_bytes(tone(9), RATE, ".flac")
    ),
    "chained Vorbis": lambda: (
        sound_bytes(tone(1), RATE, ".ogg") + sound_bytes(tone(9), RATE, ".ogg")
    ),
    "chained Opus": lambda: (
        sound_bytes(tone(1, rate=48000), 48000, ".opus")
        + sound_bytes(tone(9, rate=48000), 48000, ".opus")
    ),
}


@pytest.mark.parametrize("kind", STOPPING)
def test_sound_behind_a_stop_is_heard(tmp_path: Path, kind: str) -> None:
    track = prepared(tmp_path, STOPPING[kind]())
    assert 9 < track.duration_s < 10.2
    assert track.remark == ""
    # the end of the file, at the pitch that it has there
    assert loudest_hz(track.windows[0][-3 * 24000 :]) == pytest.approx(500, abs=2)


def test_a_second_rate_is_resampled_to_the_first(tmp_path: Path) -> None:
    first, second = mp3(tone(2, 1000, 48000), 48000, tag=False), mp3(tone(8), tag=False)
    track = prepared(tmp_path, first + second)
    assert track.sample_rate == 48000
    assert loudest_hz(track.windows[0][:36000]) == pytest.approx(1000, abs=2)
    assert loudest_hz(track.windows[0][-100000:]) == pytest.approx(500, abs=2)


def test_a_jingle_in_front_makes_no_two_songs_the_same(tmp_path: Path) -> None:
    jingle = mp3(tone(1, 330, 22050), 22050, tag=False)
    one, other = (prepared(tmp_path, jingle + mp3(tone(5, hz), tag=False)) for hz in (500, 700))
    assert one.pcm_sha256 != other.pcm_sha256


def damaged_m4a(parts: int) -> bytes:
    """Return 10 s of AAC in which ten packets in each of `parts` places are noise."""
    content = m4a(10)
    start = content.index(b"mdat") + 4
    for part in range(parts):
        content = with_hole(content, (start + (part + 1) * 10_000) / len(content), NOISE[:1000])
    return content


def test_damaged_packets_are_skipped(tmp_path: Path) -> None:
    assert 8 < prepared(tmp_path, damaged_m4a(5)).duration_s < 10.2


# --- the other decoder is asked for a reason only -----------------------------------------------


@pytest.mark.parametrize("suffix", [*SOUNDFILE_OPTIONS, "tagged mp3", "mp3 without a tag"])
def test_a_healthy_file_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    match suffix:
        case "tagged mp3":
            id3v1 = b"TAG" + bytes(125)
            content = id3_tag(100_000) + mp3(tone(3)) + ape_tag(100_000) + id3v1
        case "mp3 without a tag":
            content = mp3(tone(3), tag=False)
        case _:
            content = sound_bytes(tone(3, rate=48000), 48000, suffix)
    monkeypatch.setattr(decode, "open_with_ffmpeg", None)
    track = prepared(tmp_path, content)
    assert track.duration_s == pytest.approx(3, abs=0.1)
    assert track.remark == ""


def test_a_wav_with_a_long_chunk_behind_its_samples_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = sound_bytes(tone(0.5), RATE, ".wav") + b"id3 " + struct.pack("<I", 300_000)
    monkeypatch.setattr(decode, "open_with_ffmpeg", None)
    assert prepared(tmp_path, content + bytes(300_000)).duration_s == 0.5


# --- what is missing is said --------------------------------------------------------------------


def cut(content: bytes, share: float = 0.6) -> bytes:
    return content[: int(share * len(content))]


def cut_sound(suffix: str) -> bytes:
    return cut(sound_bytes(tone(10, rate=48000), 48000, suffix))


CUT: dict[str, Callable[[], bytes]] = {
    "mp3": lambda: cut(mp3(tone(10))),
    "mp3 of zeros at its end": lambda: with_hole(mp3(tone(20), tag=False), 0.4, bytes(150_000)),
    "m4a": lambda: cut(m4a(10)),
    "AAC of zeros at its end": lambda: with_hole(
        encode(tone(20), RATE, "aac", "adts"), 0.4, bytes(150_000)
    ),
    **{
        suffix: partial(cut_sound, suffix) for suffix in (".wav", ".aiff", ".flac", ".ogg", ".opus")
    },
}


@pytest.mark.parametrize("kind", CUT)
def test_a_file_that_was_cut_is_remarked_on(tmp_path: Path, kind: str) -> None:
    track = prepared(tmp_path, CUT[kind]())
    assert 4 < track.duration_s < 13
    assert track.remark == "cut_short"


def test_what_is_cut_behind_120_seconds_is_not_missed(tmp_path: Path) -> None:
    content = cut(sound_bytes(music(240, 8000, 1), 8000, ".wav"), 0.55)
    assert prepared(tmp_path, content).remark == ""


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0])
def test_a_wav_whose_writer_did_not_know_its_length_is_whole(tmp_path: Path, size: int) -> None:
    content = sound_bytes(tone(3), RATE, ".wav")
    track = prepared(tmp_path, content[:40] + struct.pack("<I", size) + content[44:])
    assert (track.duration_s, track.remark) == (3.0, "")


def test_crumbs_of_a_file_are_no_track(tmp_path: Path) -> None:
    content = m4a(10)
    start = content.index(b"mdat") + 4 + 4000
    reason, error = failure(tmp_path, content[:start] + bytes(len(content) - start))
    assert reason == "decode_error"
    assert "of 10 s could be decoded" in error
    assert "get the file again" in error


def test_what_lies_behind_all_frames_that_a_tag_counts_is_no_sound(tmp_path: Path) -> None:
    track = prepared(tmp_path, mp3(tone(5)) + NOISE * 20)
    assert track.duration_s == pytest.approx(5, abs=0.1)
    assert track.remark == ""


@pytest.mark.parametrize("seconds", [0.9, 0.97, 1.02, 1.1])
def test_a_sound_of_a_second_is_a_track(tmp_path: Path, seconds: float) -> None:
    """AAC at a low rate: what its encoder puts around the sound is over a tenth of a second."""
    samples = tone(seconds, rate=8000)
    content = write_m4a(tmp_path / "x.m4a", samples, 8000).read_bytes()
    assert prepared(tmp_path, content).duration_s == pytest.approx(seconds, abs=0.3)
    assert prepared(tmp_path, mp3(samples, 8000, 16_000, tag=False)).remark == ""


def test_a_short_sound_is_a_track(tmp_path: Path) -> None:
    for suffix in SOUNDFILE_OPTIONS:
        track = prepared(tmp_path, sound_bytes(tone(0.3, rate=48000), 48000, suffix))
        assert (round(track.duration_s, 1), track.remark) == (0.3, "")


# --- which sound of a file ----------------------------------------------------------------------


def test_the_first_stream_is_heard_whatever_the_others_weigh(tmp_path: Path) -> None:
    mix, drums = tone(3, 500), tone(3, 900, channels=2)
    every = (0, 1, 2)
    content = encode_streams([mix, drums, drums], RATE, "aac", "ipod", defaults=every)
    assert loudest_hz(prepared(tmp_path, content).windows[0]) == pytest.approx(500, abs=2)


def test_the_stream_that_the_file_marks_is_heard(tmp_path: Path) -> None:
    content = encode_streams([tone(3, 500), tone(3, 900)], RATE, "flac", "matroska", defaults=(1,))
    assert loudest_hz(prepared(tmp_path, content).windows[0]) == pytest.approx(900, abs=2)


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".aiff", ".ogg", ".opus", ".m4a"])
@pytest.mark.parametrize("size", [10, 300_000])
def test_a_tag_in_front_is_skipped(tmp_path: Path, suffix: str, size: int) -> None:
    samples = tone(3, rate=48000)
    if suffix == ".m4a":
        content = write_m4a(tmp_path / "x.m4a", samples, 48000).read_bytes()
    else:
        content = sound_bytes(samples, 48000, suffix)
    tagged = prepared(tmp_path, id3_tag(size) + id3_tag(5) + content)
    assert tagged.pcm_sha256 == prepared(tmp_path, content).pcm_sha256
    assert tagged.remark == ""


# --- what no decoder is asked for -----------------------------------------------------------------


@pytest.mark.parametrize("lock", [b"drms", b"enca", b"aavd"])
@pytest.mark.parametrize("index_first", [True, False])
def test_encrypted_files_are_known_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: bytes, index_first: bool
) -> None:
    for decoder in ("open_with_libsndfile", "open_with_ffmpeg"):
        monkeypatch.setattr(decode, decoder, None)
    content = write_m4a(tmp_path / "x.m4a", tone(3), RATE, index_first=index_first).read_bytes()
    at = content.index(b"mp4a", content.index(b"stsd"))
    reason, error = failure(tmp_path, content[:at] + lock + content[at + 4 :])
    assert reason == "unsupported_codec"
    assert error.startswith("copy-protected")


def test_encrypted_windows_media_is_known(tmp_path: Path) -> None:
    content = encode(tone(3), RATE, "wmav2", "asf")
    assert prepared(tmp_path, content).duration_s == pytest.approx(3, abs=0.2)
    lock = bytes.fromhex("fbb31122 23bdd211 b4b700a0 c955fc6e") + struct.pack("<Q", 24)
    reason, _ = failure(tmp_path, content[:30] + lock + content[30:])
    assert reason == "unsupported_codec"


SYNCS = {
    "DTS": (0x7FFE, 0x8001, 0xFC3C, 1024),
    "DTS, bytes swapped": (0xFE7F, 0x0180, 0x3CFC, 512),
    "DTS, 14 bits": (0x1FFF, 0xE800, 0x07F1, 1024),
    "DTS, 14 bits, bytes swapped": (0xFF1F, 0x00E8, 0xF107, 1024),
    "AC-3 for S/PDIF": (0xF872, 0x4E1F, 0x0001, 1536),
}


def compressed_pcm(sync: tuple[int, int, int, int]) -> np.ndarray:
    """Return noise in whose 16 bit samples [shape=(n, 2)] frames begin as those of a stream."""
    *words, length = sync
    noise = np.random.default_rng(3).integers(-(2**15), 2**15, (RATE * 2, 2), dtype=np.int16)
    noise[:1000] = 0  # discs begin with silence
    for start in range(1000, len(noise) - 2, length):
        noise[start : start + 2].reshape(-1)[:3] = np.array(words, np.uint16).view(np.int16)
    return noise


@pytest.mark.parametrize("kind", SYNCS)
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_compressed_stream_under_a_pcm_header_is_no_music(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, compressed_pcm(SYNCS[kind]), RATE, subtype="PCM_16")
    with pytest.raises(TrackError) as caught:
        prepare_track(str(path))
    assert caught.value.reason.value == "unsupported_codec"
    assert "heard as noise" in caught.value.error


def test_noise_that_holds_a_frame_by_chance_is_sound(tmp_path: Path) -> None:
    noise = compressed_pcm(SYNCS["DTS"])
    noise[3000:] = np.random.default_rng(4).integers(-(2**15), 2**15, (len(noise) - 3000, 2))
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype="PCM_16")
    assert prepare_track(str(tmp_path / "a.wav")).duration_s == 2.0


# --- channels and rates --------------------------------------------------------------------------


def opposite(seconds: float = 3) -> np.ndarray:
    left = music(seconds, RATE, 1)
    return np.concatenate([left, -left], axis=1)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: soundfile.write(path, opposite(), RATE, format="WAV", subtype="PCM_16"),
        lambda path: soundfile.write(path, opposite(), RATE, format="WAV", subtype="FLOAT"),
        lambda path: soundfile.write(path, opposite(), RATE, format="FLAC"),
        lambda path: path.write_bytes(mp3(opposite())),
        lambda path: write_m4a(path, opposite(), RATE, codec="alac"),
    ],
    ids=["wav", "float", "flac", "mp3", "alac"],
)
def test_channels_that_cancel_are_silence_in_every_format(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    write(tmp_path / "a")
    with pytest.raises(TrackError) as caught:
        prepare_track(str(tmp_path / "a"))
    assert caught.value.reason.value == "silent"
    assert "cancel each other out" in caught.value.error


def test_quiet_music_and_wide_stereo_are_not_silence(tmp_path: Path) -> None:
    wide = opposite() + 0.003 * music(3, RATE, 2, seed=1)
    for number, samples in enumerate((1e-6 * music(3, RATE, 2), wide)):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        assert prepare_track(str(path)).duration_s == 3.0


@pytest.mark.parametrize("times", [64, 128, 256, 512])
def test_dsd_is_heard_at_a_rate_that_fits_into_memory(tmp_path: Path, times: int) -> None:
    track = prepared(tmp_path, dsf(RATE * times, 0.5), "a.dsf")
    assert track.duration_s == pytest.approx(0.5, abs=0.01)
    assert 352_800 <= track.sample_rate <= 1_000_000


@pytest.mark.parametrize("times", [64, 512])
def test_dsd_in_its_other_container(tmp_path: Path, times: int) -> None:
    def chunk(name: bytes, *parts: bytes) -> bytes:
        content = b"".join(parts)
        return name + struct.pack(">Q", len(content)) + content

    rate = RATE * times
    properties = chunk(
        b"PROP",
        b"SND ",
        chunk(b"FS  ", struct.pack(">I", rate)),
        chunk(b"CHNL", b"\0\2SLFTSRGT"),
        chunk(b"CMPR", b"DSD \x0enot compressed\0"),
    )
    sound = chunk(b"DSD ", np.random.default_rng(0).bytes(rate // 8))  # two channels: half a second
    version = chunk(b"FVER", b"\1\5\0\0")
    track = prepared(tmp_path, chunk(b"FRM8", b"DSD ", version, properties, sound))
    assert (track.duration_s, track.remark) == (0.5, "")


def test_other_files_are_not_believed_such_rates(tmp_path: Path) -> None:
    content = sound_bytes(tone(1), RATE, ".wav")
    reason, _ = failure(tmp_path, content[:24] + struct.pack("<I", 1_411_200) + content[28:])
    assert reason == "decode_error"


@pytest.mark.parametrize(
    ("codec", "kind", "rate"), [("aac", "mp4", 8000), ("libopus", "ogg", 48000)]
)
def test_of_many_hours_two_minutes_are_read(
    tmp_path: Path, codec: str, kind: str, rate: int
) -> None:
    path = write_hours(tmp_path / "a", 5, codec, kind, rate)
    (result,) = decode_in_a_pool(path, timeout_s=30, memory_limit_bytes=1 << 29)
    assert result.prepared is not None, result.error
    assert (result.prepared.duration_s, result.prepared.remark) == (120.0, "")


def decode_in_a_pool(path: Path, **limits: Any) -> list[DecodeResult]:
    with DecoderPool(1, **limits) as pool:
        return list(pool.decode([("a", str(path))]))


def test_a_remark_comes_through_the_pool(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(cut(sound_bytes(tone(10), RATE, ".wav")))
    (result,) = decode_in_a_pool(tmp_path / "a", timeout_s=60)
    assert result.prepared is not None
    assert result.prepared.remark == "cut_short"


def test_a_pipe_put_in_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(sound_bytes(tone(1), RATE, ".wav"))
    looked_at = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda _: looked_at)  # as before it was swapped
        with pytest.raises(TrackError) as caught:
            prepare_track(str(path))
    assert (caught.value.stage, caught.value.reason.value) == ("stat", "file_missing")
