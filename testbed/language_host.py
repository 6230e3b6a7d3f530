"""Python language host for a Pulumi CLI that was built without one.

Speaks the `pulumirpc.LanguageRuntime` protocol of the Pulumi SDK and runs programs through the SDK's own
`pulumi-language-python-exec`, which must lie beside this file. It serves preview, up, refresh, destroy and
policy packs; it generates no code and installs no dependencies.

It runs from a copy in the cache, under a Python that has `pulumi` installed, and imports nothing of the test
bed.
"""
# ruff: noqa: ARG002, D102, N802  (names and parameters of the methods are the protocol's)

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2 as lang
from pulumi.runtime.proto import language_pb2_grpc, plugin_pb2

EXECUTOR = Path(__file__).resolve().with_name("pulumi-language-python-exec")

_LOOK_SECONDS = 1

PROGRAM_REPORTED = 32
"""Exit code of a program that has already told the user what is wrong (the executor's contract)."""

LIST_PLUGINS = """
import json
from importlib import metadata
print(json.dumps([
    {"dist": d.name, "dist_version": d.version, **json.loads(f.read_text())}
    for d in metadata.distributions() for f in d.files or [] if f.name == "pulumi-plugin.json"
]))
"""


def interpreter(info: lang.ProgramInfo) -> str:
    """The Python of the program's `runtime.options.virtualenv`, else the one this host runs under."""
    if "virtualenv" not in info.options:
        return sys.executable
    python = Path(info.root_directory, str(info.options["virtualenv"]), "bin", "python")
    if not python.exists():
        raise FileNotFoundError(
            f"{python} does not exist, but Pulumi.yaml names its virtual environment, so the program cannot "
            f"run. Make it: python3 -m venv {python.parent.parent}"
        )
    return str(python)


def program_arguments(request: lang.RunRequest, engine: str) -> list[str]:
    """The executor's arguments for a program."""
    options = {
        "monitor": request.monitor_address,
        "engine": engine,
        "project": request.project,
        "stack": request.stack,
        "pwd": request.pwd or request.info.program_directory,
        "dry_run": "true" if request.dryRun else "false",
        "parallel": str(request.parallel),
        "organization": request.organization,
        "root_directory": request.info.root_directory,
    }
    flags = [word for key, value in options.items() for word in (f"--{key}", value)]
    return [*flags, request.info.entry_point or "."]


class Host(language_pb2_grpc.LanguageRuntimeServicer):
    """The service that the engine calls; method names are the protocol's."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._programs: set[subprocess.Popen[bytes]] = set()

    def end_programs(self) -> None:
        """Ends what still runs: without its engine a program waits for ever."""
        for program in list(self._programs):
            program.kill()

    def Handshake(
        self, request: lang.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> lang.LanguageHandshakeResponse:
        return lang.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=metadata.version("pulumi"))

    def GetRequiredPackages(
        self, request: lang.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> lang.GetRequiredPackagesResponse:
        """The providers that the installed SDK packages name."""
        command = [interpreter(request.info), "-c", LIST_PLUGINS]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return lang.GetRequiredPackagesResponse(
            packages=[
                plugin_pb2.PackageDependency(
                    kind="resource",
                    name=plugin.get("name") or plugin["dist"].removeprefix("pulumi_"),
                    version="v" + (plugin.get("version") or plugin["dist_version"]).removeprefix("v"),
                    server=plugin.get("server", ""),
                )
                for plugin in json.loads(listing)
                if plugin.get("resource")
            ]
        )

    def GetRequiredPlugins(
        self, request: lang.GetRequiredPluginsRequest, context: grpc.ServicerContext
    ) -> lang.GetRequiredPluginsResponse:
        return lang.GetRequiredPluginsResponse()

    def InstallDependencies(
        self, request: lang.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Iterator[lang.InstallDependenciesResponse]:
        return iter(())

    def RuntimeOptionsPrompts(
        self, request: lang.RuntimeOptionsRequest, context: grpc.ServicerContext
    ) -> lang.RuntimeOptionsResponse:
        return lang.RuntimeOptionsResponse()

    def GetProgramDependencies(
        self, request: lang.GetProgramDependenciesRequest, context: grpc.ServicerContext
    ) -> lang.GetProgramDependenciesResponse:
        return lang.GetProgramDependenciesResponse()

    def About(self, request: lang.AboutRequest, context: grpc.ServicerContext) -> lang.AboutResponse:
        return lang.AboutResponse(executable=sys.executable, version=sys.version.split()[0])

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    def Run(self, request: lang.RunRequest, context: grpc.ServicerContext) -> lang.RunResponse:
        """Runs a program to its end."""
        config = {
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        try:
            python = interpreter(request.info)
        except FileNotFoundError as error:
            return lang.RunResponse(error=str(error))
        program = subprocess.Popen(
            [python, "-u", str(EXECUTOR), *program_arguments(request, self._engine)],
            env=os.environ | config,
            cwd=request.info.program_directory or None,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,  # stdout belongs to the protocol
        )
        self._programs.add(program)
        code = program.wait()
        self._programs.discard(program)
        if code == PROGRAM_REPORTED:
            return lang.RunResponse(bail=True)
        return lang.RunResponse(error=f"Program exited with code {code}" if code else "")

    def RunPlugin(
        self, request: lang.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[lang.RunPluginResponse]:
        """Runs a policy pack (or another plugin written in Python), passing on what it prints."""
        if request.kind == "analyzer":  # the first argument is the engine's address
            directory = request.info.program_directory
            program = ["-m", "pulumi.policy", request.args[0], directory, *request.args[1:]]
        else:
            program = [request.info.program_directory, *request.args]
        child = subprocess.Popen(
            [interpreter(request.info), "-u", *program],
            cwd=request.pwd or None,
            env=os.environ | dict(entry.split("=", 1) for entry in request.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        context.add_callback(child.kill)
        yield from _output(child)
        yield lang.RunPluginResponse(exitcode=child.wait())


def _output(child: subprocess.Popen[bytes]) -> Iterator[lang.RunPluginResponse]:
    """Both streams of a child, interleaved as they come, until both end."""
    lines: SimpleQueue[lang.RunPluginResponse | None] = SimpleQueue()

    def pump(stream: IO[bytes], *, is_error: bool) -> None:
        for line in stream:
            lines.put(lang.RunPluginResponse(stderr=line) if is_error else lang.RunPluginResponse(stdout=line))
        lines.put(None)

    for stream, is_error in ((child.stdout, False), (child.stderr, True)):
        assert stream is not None, "both are pipes"
        threading.Thread(target=pump, args=(stream,), kwargs={"is_error": is_error}, daemon=True).start()
    for _ in range(2):
        yield from iter(lines.get, None)


def main() -> None:
    """Serves on a free port of the loopback address, which is printed for the engine to read."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the whole group; no traceback from here
    engine = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
    host = Host(engine)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    started_by = os.getppid()
    while server.wait_for_termination(_LOOK_SECONDS) and os.getppid() == started_by:
        pass  # an engine that is killed leaves its host behind
    host.end_programs()


if __name__ == "__main__":
    main()
