"""What the builders say when they fail, as they said it, and what is made of it. buildah's own: test_dockerfile."""

import pytest

from sandboxfile.images.containers.build_errors import RUNTIME, explain
from sandboxfile.images.containers.children import Ended

KIT = "failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
CASES = {
    "a step of docker's old builder": (
        "Step 1/2 : FROM scratch\n ---> \nStep 2/2 : RUN exit 42\n ---> Running in 21314ca6f506\n"
        "The command '/bin/sh -c exit 42' returned a non-zero code: 42\n",
        "FILE: Step 2/2 : RUN exit 42 failed with exit code 42",
    ),
    "a step of BuildKit, which ran others at the same time": (
        "#4 [one 1/2] RUN exit 42\n#5 [two 1/2] RUN sleep 1\n#4 ERROR: exit code: 42\n"
        "------\n > [one 1/2] RUN exit 42:\n"
        '------\nERROR: failed to solve: process "/bin/sh -c exit 42" did not complete successfully: exit code: 42\n',
        "FILE: [one 1/2] RUN exit 42 failed with exit code 42",
    ),
    "a wrong instruction": (
        f"{KIT}dockerfile parse error line 2: unknown instruction: COPPY\n",
        "FILE:2: there is no instruction COPPY",
    ),
    "an instruction without its words": (
        "Error response from daemon: dockerfile parse error line 2: COPY requires at least two arguments\n",
        "FILE:2: COPY requires at least two arguments",
    ),
    "a base that BuildKit cannot get": (
        "#3 [internal] load metadata for localhost/none:1\n#3 ERROR: failed to do request\n------\n"
        f" > [internal] load metadata for localhost/none:1:\n------\n{KIT}failed to do request\n",
        "FILE: the base image of a stage is not to be had",
    ),
    "a base that the old builder cannot get": (
        "Step 1/1 : FROM localhost/none:1\nGet http://localhost/v2/: connection refused\n",
        "FILE: the base image of Step 1/1 : FROM localhost/none:1 is not to be had",
    ),
    "a stage that is not there": (f"{KIT}target stage nix could not be found\n", "FILE has no stage nix"),
    "the same, of the old builder": ("failed to reach build target nix in Dockerfile\n", "FILE has no stage nix"),
    "nothing at all": ("the Dockerfile (Dockerfile) cannot be empty\n", "FILE has no instructions"),
    "owners that a user without ids cannot make": (
        'STEP 2/2: ADD root.tar /\nError: building at STEP "ADD root.tar /": lchown /etc/x: invalid argument\n',
        "FILE: STEP 2/2: ADD root.tar / failed: this user has no subordinate ids, "
        "and the image has files of several owners",
    ),
    "a full disk": (
        "STEP 2/2: RUN fill\nfill: write error: No space left on device\nexit status 1\n",
        "FILE: STEP 2/2: RUN fill failed with exit code 1: the disk is full",
    ),
    "words that nobody knows yet": ("something new\n", "cannot build FILE: docker failed"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_failure_is_said_with_its_cause(case, tmp_path):
    said, message = CASES[case]
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\nCOPPY a b\n")
    error = explain(file, ("docker", "build"), Ended(1, b"", said))
    assert error.message == message.replace("FILE", str(file))
    assert error.command == ("docker", "build")


def test_lines_without_end_are_cut(tmp_path):
    error = explain(tmp_path / "Dockerfile", ("buildah",), Ended(1, b"", "x" * 100_000))
    assert len(error.output) < 1000


def test_a_host_without_a_container_runtime_is_told_from_a_step_that_fails():
    crun = "error running container: from /usr/bin/crun creating container for [/bin/sh -c id]: cgroups in hybrid mode"
    assert RUNTIME.search(crun)
    assert RUNTIME.search('subprocess exited with status 1\nError: building at STEP "RUN false": exit status 1') is None
