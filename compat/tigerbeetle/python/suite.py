"""Runs the cases: each in its own process, with its own server and a time limit.

The official client answers some mistakes of a server by waiting for ever, others by aborting its process. So a case
never runs in this process. Its process leads a process group that includes its servers. When the case has ended, for
any reason, the group is killed and its folder removed.

usage: suite.py PROGRAM [WORD...]      every case, or those whose name contains a word
       suite.py --case MODULE NAME PROGRAM FOLDER      one case, in this process
"""

import concurrent.futures
import faulthandler
import importlib
import inspect
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

# Modules with the longest waits come first.
MODULES = [
    "restart",
    "accounts",
    "transfers",
    "two_phase",
    "chains",
    "imported",
    "reading",
    "batches",
    "clients",
    "protocols",
    "evictions",
]

# Seconds after which a case is killed. A few seconds before, it prints its stack traces.
LIMIT = 60
# Limit of the output of a failed case, in characters.
OUTPUT_MAX = 12000
JOBS = int(os.environ.get("JOBS", "4"))
# The engine of the three nodes that each case has when it is set; a case has one node when it is not.
ENGINE = os.environ.get("ENGINE")


def cases_of(module):
    """The cases of a module, in its order: its public functions with the single parameter `server`."""
    functions = vars(importlib.import_module("cases." + module)).values()
    return [
        function.__name__
        for function in functions
        if inspect.isfunction(function)
        and function.__module__ == "cases." + module
        and list(inspect.signature(function).parameters) == ["server"]
        and not function.__name__.startswith("_")
    ]


def title(module, name):
    return module + ": " + name.replace("_", " ")


class Suite:
    def __init__(self, program):
        self.program = program
        self.groups = set()
        self.is_stopping = False
        self.lock = threading.Lock()

    def run(self, module, name):
        """Runs one case and prints a line about it; true if it passed."""
        folder = tempfile.mkdtemp(prefix="bezant-compat-")
        begin = time.monotonic()
        try:
            outcome = self._run_in(folder, module, name)
            output = pathlib.Path(folder, "case").read_text(errors="replace")
            for log in sorted(pathlib.Path(folder).glob("**/err")) if outcome else []:
                output += "--- the end of the server's log\n" + log.read_text(errors="replace")[-4000:]
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        # The difference of long lists is described at the beginning of the output.
        if len(output) > OUTPUT_MAX:
            output = output[: OUTPUT_MAX // 2] + "\n...\n" + output[-OUTPUT_MAX // 2 :]
        with self.lock:
            if self.is_stopping:
                return False
            word = "FAILED" if outcome else "ok"
            print("%-6s %5.1f s  %s" % (word, time.monotonic() - begin, title(module, name)), flush=True)
            if outcome:
                print("    " + (outcome + "\n" + output).strip().replace("\n", "\n    "), flush=True)
        return not outcome

    def _run_in(self, folder, module, name):
        """Empty if the case passed, otherwise how its process ended."""
        command = [sys.executable, "-u", __file__, "--case", module, name, self.program, folder]
        with open(os.path.join(folder, "case"), "wb") as output:
            with self.lock:
                if self.is_stopping:
                    return "stopped"
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
                self.groups.add(process.pid)
            try:
                code = process.wait(LIMIT)
                if code < 0:
                    return "ended by signal " + signal.Signals(-code).name
                return "" if code == 0 else "exit code %d" % code
            except subprocess.TimeoutExpired:
                return "not ended after %d s" % LIMIT
            finally:
                with self.lock:
                    self.groups.discard(process.pid)
                end_group(process.pid)
                process.wait()

    def stop(self, *_):
        """Kills all running cases."""
        self.is_stopping = True
        for group in list(self.groups):
            end_group(group)
        sys.exit(130)


def end_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_all(program, words):
    suite = Suite(program)
    signal.signal(signal.SIGTERM, suite.stop)
    signal.signal(signal.SIGINT, suite.stop)
    chosen = [
        (module, name)
        for module in MODULES
        for name in cases_of(module)
        if not words or any(word in title(module, name) for word in words)
    ]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        passed = sum(pool.map(lambda case: suite.run(*case), chosen))
    print("%d passed, %d failed" % (passed, len(chosen) - passed), flush=True)
    return 0 if chosen and passed == len(chosen) else 1


def run_one(module, name, program, folder):
    from server import Cluster, Server

    faulthandler.enable()
    faulthandler.dump_traceback_later(LIMIT - 5)
    server = Cluster(program, folder, ENGINE) if ENGINE else Server(program, folder)
    server.start()
    getattr(importlib.import_module("cases." + module), name)(server)
    server.finish()
    # Does not wait for threads of a client that a case left running on purpose.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "--case":
        run_one(*sys.argv[2:])
    else:
        sys.exit(run_all(sys.argv[1], sys.argv[2:]))
