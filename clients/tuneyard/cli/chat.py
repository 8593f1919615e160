"""`chat`: talking to a finished language model, in a conversation or with one prompt."""

import importlib
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Final

import typer

from tuneyard.cli.command import UsageFailure, command, report
from tuneyard.cli.formats import plain
from tuneyard.cli.inference import require_task
from tuneyard.cli.jobs import JobName
from tuneyard.cli.session import Session
from tuneyard.cli.talking import (
    Exchange,
    Manner,
    MaxNewTokens,
    Seed,
    Stop,
    Temperature,
    TopP,
    answer_once,
)
from tuneyard.client import TuneyardError
from tuneyard.v1.inference_service_pb2 import ChatTurn

_HELP: Final = """[bold]/reset[/]          begin a new conversation
[bold]/system TEXT[/]    what the model is told before the conversation, which begins anew
[bold]/base on|off[/]    hear the base model too
[bold]/again[/]          another answer to the last question
[bold]/exit[/]           leave, as Ctrl-D does
Ctrl-C stops an answer. A question of several lines stands between lines of \"\"\"."""
_QUOTES: Final = '"""'

Read = Callable[[str], str]
"""Asks a person for a line, as `input` does; raises EOFError and KeyboardInterrupt."""


def add_to(root: typer.Typer) -> None:
    """Adds the command to the root."""
    command(root)(chat)


def chat(
    session: Session,
    job: JobName,
    prompt: Annotated[
        str,
        typer.Argument(
            help="One question to answer. Without it: what is piped in, or at a terminal a conversation."
        ),
    ] = "",
    *,
    system: Annotated[
        str, typer.Option(help="What the model is told before the conversation.", show_default=False)
    ] = "",
    base: Annotated[bool, typer.Option("--base", help="Let the base model answer too.")] = False,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_new_tokens: MaxNewTokens = None,
    seed: Seed = None,
    stop: Stop = [],  # noqa: B006
) -> None:
    """Talk to a finished job's language model. With --json: one answer, as one document."""
    manner = Manner(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed, stop=stop)
    is_conversation = not prompt and sys.stdin.isatty()
    if is_conversation and session.json:
        raise UsageFailure("--json answers one question: name it, or pipe it in")
    found = session.client.jobs.get(job)
    require_task(found, "language_model")
    if is_conversation:
        with suppress(ImportError):
            # Lets `input` edit lines and recall earlier ones; some builds of Python lack it.
            importlib.import_module("readline")
        Conversation(session, found.name, manner, system=system, base=base).run(input)
        return
    question = prompt or sys.stdin.read().strip()
    if not question:
        raise UsageFailure("there is nothing to answer", hints=('tuneyard chat JOB "PROMPT"',))
    turns = [ChatTurn(role="system", content=system)] if system else []
    turns.append(ChatTurn(role="user", content=question))
    answer_once(session, manner.request(found.name, turns, base=base))


class Conversation:
    """A person and a model taking turns."""

    def __init__(self, session: Session, job: str, manner: Manner, *, system: str, base: bool) -> None:
        self._session = session
        self._job = job
        self._manner = manner
        self._system = system
        self._base = base
        self._turns: list[ChatTurn] = []

    def run(self, read: Read) -> None:
        """Asks and answers until the person leaves."""
        self._tell("/help tells what else can be done; Ctrl-D leaves.")
        while True:
            try:
                line = self._question(read)
            except KeyboardInterrupt:
                self._session.err.print()
                self._tell("Ctrl-D leaves.")
                continue
            except EOFError:
                self._session.err.print()
                return
            if line.startswith("/"):
                if line in ("/exit", "/quit", "/bye"):
                    return
                self._obey(*line.partition(" ")[::2])
            elif line:
                self._ask(line)

    def _question(self, read: Read) -> str:
        line = read(">>> ").strip()
        if not line.startswith(_QUOTES):
            return line
        lines = [line.removeprefix(_QUOTES)]
        while not lines[-1].rstrip().endswith(_QUOTES):
            lines.append(read("... "))
        return "\n".join(lines).rstrip().removesuffix(_QUOTES).strip()

    def _ask(self, question: str) -> None:
        self._turns.append(ChatTurn(role="user", content=question))
        turns = [ChatTurn(role="system", content=self._system)] if self._system else []
        exchange = Exchange(self._manner.request(self._job, [*turns, *self._turns], base=self._base))
        try:
            exchange.follow(self._session)
        except KeyboardInterrupt:
            self._tell("stopped")
        except TuneyardError as error:
            report(self._session, error.message, error=error)
        if not exchange.tuned.text:
            # A question without an answer is no part of the conversation.
            self._turns.pop()
            return
        self._turns.append(ChatTurn(role="assistant", content=exchange.tuned.text))
        if remark := exchange.remark():
            self._tell(remark)

    def _obey(self, order: str, argument: str) -> None:
        match order, argument.strip():
            case "/help", _:
                self._session.err.print(_HELP)
            case "/reset", _:
                self._turns.clear()
                self._tell("a new conversation")
            case "/system", text:
                self._system = text
                self._turns.clear()
                self._tell("a new conversation" + (", which begins with this" if text else ""))
            case "/base", ("on" | "off") as choice:
                self._base = choice == "on"
                self._tell("the base model answers too" if self._base else "the tuned model answers alone")
            case "/again", _ if self._turns:
                del self._turns[-1]
                self._ask(self._turns.pop().content)
            case "/again", _:
                self._tell("there was no question yet")
            case _:
                self._tell(f"{plain(order)} is no order here: /help")

    def _tell(self, text: str) -> None:
        self._session.err.print(f"[dim]{text}[/]")
