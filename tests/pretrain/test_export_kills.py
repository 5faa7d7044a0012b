"""A process that is killed while it exports a base leaves the old or the new folder."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from perso_lite import load_base
from perso_lite.files import writing
from perso_lite.files.writing import folder_written_whole, restore_earlier

EXPORTS = """
import sys
from pathlib import Path
from perso_lite.base import load_base
from perso_lite.pretrain.export import export
source, target = sys.argv[1:]
pipeline, number = load_base(source, device="cpu"), 0
print("ready", flush=True)
while True:  # each time another base: two of its parts know which
    number += 1
    pipeline.unet.conv_in.bias.fill_(number)
    pipeline.vae.decoder.conv_in.bias.fill_(number)
    export(Path(target), pipeline)
"""
KILLS = int(os.environ.get("KILLS", "4"))


@pytest.mark.slow
def test_a_kill_at_any_time_leaves_a_whole_base(tiny_folder, tmp_path):
    target, choose = tmp_path / "base", random.Random(0)
    shutil.copytree(tiny_folder, target)
    for _ in range(KILLS):
        command = [sys.executable, "-c", EXPORTS, str(tiny_folder), str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(choose.uniform(0.2, 1.0))
            process.send_signal(signal.SIGKILL)
        base = load_base(target, device="cpu")
        numbers = base.unet.conv_in.bias[0], base.vae.decoder.conv_in.bias[0]
        assert numbers[0] == numbers[1]
        base("a cat", num_inference_steps=1)


def killed_at(folder, line):
    """Write a folder in a process that ends at a line; whether it came to its end."""

    def trace(frame, event, _):
        nonlocal line
        if frame.f_code.co_filename != writing.__file__:
            return None
        if event == "line":
            line -= 1
            if line == 0:
                os._exit(9)
        return trace

    process = os.fork()
    if process == 0:
        sys.settrace(trace)
        with folder_written_whole(folder) as new:
            (new / "part").mkdir()
            (new / "part" / "weights").write_text("new")
            (new / "index").write_text("new")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_line_of_the_exchange_leaves_one_of_the_two(tmp_path):
    folder, seen, lines, ended = tmp_path / "folder", [], 0, False
    old, new = {"index": "old"}, {"index": "new", "part/weights": "new"}
    while not ended:
        for left in (folder, *tmp_path.glob(".folder.*")):
            shutil.rmtree(left, ignore_errors=True)
        folder.mkdir()
        (folder / "index").write_text("old")
        lines += 1
        ended = killed_at(folder, lines)
        restore_earlier(folder)
        paths = [path for path in folder.rglob("*") if path.is_file()]
        found = {str(path.relative_to(folder)): path.read_text() for path in paths}
        assert found in (old, new)
        seen.append(found == new)
    assert seen == sorted(seen) and lines > 15  # once exchanged, it stays
    assert not seen[0] and seen[-1]
