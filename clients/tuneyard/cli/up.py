"""`tuneyard up`: everything on one machine, as separate processes."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated

import typer

from tuneyard.cli import services
from tuneyard.cli.command import Failure, UsageFailure, command
from tuneyard.cli.config import data_folder, database_url, service_environment, store_url
from tuneyard.cli.formats import plain, size
from tuneyard.cli.services import Installation
from tuneyard.cli.session import EXIT_OK, Session
from tuneyard.cli.supervisor import CannotStart, LineWriter, Supervisor
from tuneyard.client import Client, ConnectionSettings, TuneyardError
from tuneyard.client.addresses import is_address, is_loopback
from tuneyard.client.words import FAMILIES, word_of
from tuneyard.v1 import system_pb2

_LOOK_EVERY_SECONDS = 0.1
_PATIENCE_SECONDS = 180.0
_STYLES = {"gateway": "blue", "web": "cyan", "vision": "magenta", "diffusion": "green", "llm": "yellow"}


def add_to(root: typer.Typer) -> None:
    """Adds the command to the root."""
    command(root)(up)


def up(
    session: Session,
    *,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where everything is kept. Default: $TUNEYARD_DATA_DIR, else your data folder.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        str,
        typer.Option(
            help="file:///DIR or s3://BUCKET/PREFIX. Default: a folder in the data folder.",
            metavar="URL",
            show_default=False,
        ),
    ] = "",
    database: Annotated[
        str,
        typer.Option(
            help="sqlite:///FILE or postgresql://… Default: a file in the data folder.",
            metavar="URL",
            show_default=False,
        ),
    ] = "",
    trainers: Annotated[
        str,
        typer.Option(
            help="Families to serve, such as vision,llm. Default: all that are installed.",
            metavar="FAMILIES",
            show_default=False,
        ),
    ] = "",
    devices: Annotated[
        str,
        typer.Option(
            help="cpu, auto, or devices such as cuda:0,cuda:1; a device named twice runs two jobs at once.",
            show_default=False,
        ),
    ] = "",
    ports: Annotated[
        str, typer.Option(help="default, or auto for free ones.", metavar="default|auto")
    ] = "default",
    web_host: Annotated[
        str,
        typer.Option(
            help="Where the web server listens: 0.0.0.0 lets browsers of other machines in, and needs"
            " TUNEYARD_TOKEN.",
            metavar="ADDRESS",
        ),
    ] = services.LOOPBACK,
) -> int:
    """Start the gateway, the trainers and the web server on this machine; Ctrl-C stops them.

    They listen on this machine only, but for the web server where that is asked for. What dies starts again.
    """
    if missing := services.missing_modules("gateway"):
        raise Failure(f"{', '.join(missing)} not installed", hints=("pip install 'tuneyard[gateway]'",))
    _check_web_host(session, web_host)
    families = _families(session, trainers)
    data = data_folder(data_dir)
    installation = Installation(
        data=data,
        store=store_url(store, data),
        database=database_url(database, data),
        families=families,
        ports=_ports(ports, families, web_host),
        environment=service_environment(),
        devices=devices,
        web_host=web_host,
    )
    data.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(installation.programs(), write=_writer(session))
    with stop_signals() as stops:
        try:
            supervisor.start()
            _run(session, installation, supervisor, stops)
        except CannotStart as error:
            raise Failure(str(error), hints=("tuneyard doctor",)) from error
        finally:
            session.err.print("stopping …")
            supervisor.stop()
    return EXIT_OK


def _run(
    session: Session, installation: Installation, supervisor: Supervisor, stops: Callable[[float], bool]
) -> None:
    waits_until = time.monotonic() + _PATIENCE_SECONDS
    expected = set(installation.families)
    settings = ConnectionSettings(server=installation.gateway_address, token=session.token, retries=0)
    ready = False
    with Client(settings) as client:
        while not stops(_LOOK_EVERY_SECONDS):
            supervisor.tend()
            if ready:
                continue
            found = _ready_trainers(client)
            if found is not None:
                families = [word_of(trainer.family, FAMILIES) for trainer in found]
                web = ["web"] if _web_answers(installation) else []
                supervisor.ready(["gateway", *families, *web])
                if expected <= set(families) and len(web) == ("web" in installation.ports):
                    ready = True
                    _announce(session, installation, found)
            if not ready and time.monotonic() > waits_until:
                waits_until = float("inf")
                session.err.print("[yellow]warning:[/] not everything is ready yet; see the log above")


def _ready_trainers(client: Client) -> Sequence[system_pb2.Trainer] | None:
    """The trainers that can take jobs; None while the gateway does not answer."""
    try:
        found = client.trainers()
    except TuneyardError:
        return None
    return [trainer for trainer in found if trainer.health == system_pb2.TRAINER_HEALTH_READY]


def _web_answers(installation: Installation) -> bool:
    return "web" in installation.ports and not services.is_free(
        installation.ports["web"], installation.web_host
    )


def _announce(session: Session, installation: Installation, trainers: Sequence[system_pb2.Trainer]) -> None:
    if session.json:
        session.document(
            {
                "gateway": installation.gateway_address,
                **({"web": installation.web_url} if installation.web_url else {}),
                "dataDir": str(installation.data),
                "trainers": list(trainers),
            }
        )
        return
    session.out.print("[bold green]Tuneyard is ready.[/]")
    if installation.web_url:
        session.out.print(f"  web        [bold]{installation.web_url}[/]")
    session.out.print(f"  gateway    {installation.gateway_address}")
    for trainer in trainers:
        devices = ", ".join(
            f"{device.display_name or device.id} {size(device.memory_total_bytes)}"
            for device in trainer.devices
        )
        family = word_of(trainer.family, FAMILIES)
        session.out.print(f"  {family:<9}  {plain(trainer.address)}  [dim]{plain(devices)}[/]")
    session.out.print(f"  data       {plain(str(installation.data))}")
    session.out.print("Ctrl-C stops everything.")


def _families(session: Session, wanted: str) -> list[str]:
    chosen = [word.strip() for word in wanted.split(",") if word.strip()]
    if unknown := [word for word in chosen if word not in services.FAMILIES]:
        raise UsageFailure(f"--trainers {unknown[0]!r} is none of {', '.join(services.FAMILIES)}")
    available = []
    for family in chosen or services.FAMILIES:
        if reason := services.unavailable(family):
            if chosen:
                raise Failure(reason)
            session.err.print(f"[dim]skipped {plain(reason)}[/]")
        else:
            available.append(family)
    return available


def _check_web_host(session: Session, host: str) -> None:
    if host != "localhost" and not is_address(host):
        raise UsageFailure(f"--web-host {host!r} is no address, such as 0.0.0.0 for all of this machine")
    if not is_loopback(host) and not session.token:
        raise Failure(
            f"--web-host {host}: other machines could come in, and there is no token",
            hints=("export TUNEYARD_TOKEN=$(openssl rand -hex 32)",),
        )


def _ports(choice: str, families: Sequence[str], web_host: str) -> dict[str, int]:
    names = services.listeners(families)
    if choice == "auto":
        return services.free_ports(names)
    if choice != "default":
        raise UsageFailure(f"--ports {choice!r} is neither default nor auto")
    ports = {name: services.DEFAULT_PORTS[name] for name in names}
    hosts = {"web": web_host}
    if taken := [
        f"{port} ({name})"
        for name, port in ports.items()
        if not services.is_free(port, hosts.get(name, services.LOOPBACK))
    ]:
        raise Failure(
            f"in use: port {', '.join(taken)}",
            hints=("is Tuneyard running already? tuneyard trainers", "or take free ones: --ports auto"),
        )
    return ports


def _writer(session: Session) -> LineWriter:
    width = max(len(name) for name in _STYLES)

    def write(name: str, line: str) -> None:
        style = _STYLES.get(name, "default")
        session.err.print(f"[{style}]{name:<{width}} │[/] {plain(line)}", soft_wrap=True)

    return write


@contextmanager
def stop_signals() -> Iterator[Callable[[float], bool]]:
    """Yields what waits for up to so many seconds, and tells whether a signal has asked to stop meanwhile."""
    # A handler that sets an Event while its thread is about to wait for that waits for its own thread.
    asked: SimpleQueue[int] = SimpleQueue()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: asked.put(number)) for number in numbers}

    def stops(within_seconds: float) -> bool:
        with suppress(Empty):
            asked.get(timeout=within_seconds)
            return True
        return False

    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
